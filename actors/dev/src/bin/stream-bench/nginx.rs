//! nginx with a key of ours, as the peer: one worker, TLS 1.3, tickets, a static answer.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use stream_dev::keys::Pair;
use stream_dev::ports;
use stream_dev::process::{Process, find};

use super::process_usage::start_on_server_core;

const START_WITHIN: Duration = Duration::from_secs(10);

/// A running nginx. Dropping it kills it.
pub(super) struct Nginx {
    pub(super) process: Process,
    pub(super) port: u16,
}

impl Nginx {
    /// Starts it on the server's core with its files in `dir`, which is made, and returns once it
    /// accepts.
    pub(super) fn start(dir: &Path, pair: &Pair) -> anyhow::Result<Self> {
        let program = find("nginx").or_else(|| Some("/usr/sbin/nginx".into()));
        let program = program.filter(|program| program.is_file());
        let program = program.context("nginx is missing: install the package nginx")?;
        std::fs::create_dir(dir)?;
        let port = ports::free();
        let config = dir.join("nginx.conf");
        std::fs::write(&config, text(dir, pair, port))?;
        let errors = dir.join("error.log");
        let arguments: [&dyn Display; 4] = [&"-c", &config.display(), &"-e", &errors.display()];
        let log = dir.join("nginx.log");
        let mut process = start_on_server_core("nginx", &program, &arguments, &log)?;
        process.wait_for_port(port, START_WITHIN)?;
        Ok(Self { process, port })
    }
}

fn text(dir: &Path, pair: &Pair, port: u16) -> String {
    let (dir, certificate, key) = (dir.display(), pair.certificate.display(), pair.key.display());
    format!(
        r#"daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_ecdh_curve X25519;
    ssl_session_tickets on;
    location / {{ return 200 "pong"; }}
  }}
}}
"#
    )
}

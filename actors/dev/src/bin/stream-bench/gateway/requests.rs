//! Requests for one session over connections that stay.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use super::super::process_usage::cpu_time;
use super::super::tls_client::{client, hybrid};

/// Connections, each with a request under way.
const CONNECTIONS: usize = 16;

const ROUND: Duration = Duration::from_secs(2);

const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// The least share of a round in which the server works: less, and clients were what was measured.
const BUSY: f64 = 0.8;

/// What a server says every time.
#[derive(Deserialize, Serialize)]
pub(super) struct Answer {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

pub(super) struct Requests {
    port: u16,
    tls: Arc<ClientConfig>,
    request: Vec<u8>,
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Requests {
    pub(super) fn new(port: u16, session: &str, token: &str) -> Self {
        let request = format!(
            "GET /1.0/sessions/{session} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Macaroon root={token}\r\n\r\n"
        );
        let tls = Arc::new(client(hybrid(), true));
        Self { port, tls, request: request.into_bytes() }
    }

    /// Asks once; returns what another server is to answer, but for what every server says itself.
    pub(super) fn answer(&self) -> anyhow::Result<Answer> {
        let (head, body) = ask(&mut self.connect()?, &self.request)?;
        let own = ["content-length", "date", "connection"];
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Ok(Answer { headers: headers.filter(|(name, _)| !own.contains(&&**name)).collect(), body })
    }

    /// Asks for a round; returns how many answers a second of the server's processor time gives.
    pub(super) fn run(&self, pid: u32) -> anyhow::Result<f64> {
        let streams = (0..CONNECTIONS).map(|_| self.connect());
        let mut streams = streams.collect::<anyhow::Result<Vec<_>>>()?;
        // The handshakes are over then.
        for stream in &mut streams {
            ask(stream, &self.request)?;
        }
        let (before, begun) = (cpu_time(pid)?, Instant::now());
        let count = std::thread::scope(|scope| {
            let run = |mut stream| {
                scope.spawn(move || {
                    let mut count = 0;
                    while begun.elapsed() < ROUND {
                        ask(&mut stream, &self.request)?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            };
            let threads: Vec<_> = streams.into_iter().map(run).collect();
            let mut sum = 0;
            for thread in threads {
                sum += thread.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))?;
            }
            anyhow::Ok(sum)
        })?;
        let used = (cpu_time(pid)? - before).as_secs_f64();
        let busy = used / begun.elapsed().as_secs_f64();
        if busy < BUSY {
            eprintln!("the server was busy for {:.0} % of a round only", busy * 100.0);
        }
        Ok(f64::from(count) / used)
    }

    fn connect(&self) -> anyhow::Result<Stream> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(IO_TIMEOUT))?;
        let name = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST).into();
        Ok(StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name)?, tcp))
    }
}

/// Returns the head and the body of an answer that succeeds.
fn ask(stream: &mut Stream, request: &[u8]) -> anyhow::Result<(String, String)> {
    stream.write_all(request)?;
    let (mut read, mut buffer) = (Vec::with_capacity(4096), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the server has hung up");
        read.extend_from_slice(&buffer[..count]);
        let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&read[..end])?;
        let header = |line: &str| Some(line.split_once(": ")?.1.to_owned());
        let length = head.lines().find(|line| line.starts_with("content-length: "));
        let length: usize = length.and_then(header).context("no length")?.parse()?;
        if read.len() >= end + 4 + length {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "refused: {head}");
            let body = String::from_utf8_lossy(&read[end + 4..]).into_owned();
            return Ok((head.to_owned(), body));
        }
    }
}

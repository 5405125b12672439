//! `stream-dev up`: the stack until Ctrl-C, or for one session.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use stream_simulators::ams::ReadyApplication;
use tokio::signal::unix::{SignalKind, signal};

use crate::ams::{APPLICATION, Relay, Transport};
use crate::env_file::EnvFile;
use crate::processes::{self, Services};
use crate::smoke;
use crate::workdir::Workdir;

/// Longer than a machine takes to reach itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What `--help` tells besides the options.
pub const HELP: &str = "\
A test suite of a client starts with one command once the file of --env is there:

  stream-dev up --env stack.env --application phone --application car=jammy:aaos15:amd64
  set -a; . ./stack.env; set +a
  curl --cacert $STREAM_GATEWAY_CERTIFICATE -H \"Authorization: Macaroon root=$ASG_API_TOKEN\" \
$ASG_API_URL/1.0/applications

The gateway takes the token as api_token= in the query, too. Instances that are launched at AMS with \
config.enable_streaming get a session and the tag session=ID.";

/// The options of `stream-dev up`.
#[derive(Args, Debug)]
pub struct Options {
    /// Drive one whole session with a headless client instead, print its time line, and end.
    #[arg(long)]
    pub smoke: bool,
    /// Keep keys and logs in this directory; without it all goes away at the end.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How long an instance takes to boot.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub boot_ms: u64,
    /// How instances exchange commands and signals with their agent.
    #[arg(long, value_enum, default_value_t = Transport::Rest)]
    pub transport: Transport,
    /// Instances have media relayed by coturn, when the client chooses to; with `=only`, in no
    /// other way. Without it only clients do.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Relay::Never,
        num_args = 0..=1, require_equals = true, default_missing_value = "also")]
    pub relay: Relay,
    /// Where gateway and coturn listen, and instances take media: an address of this machine, for
    /// clients on others. NATS, AMS and the agent stay on the loopback.
    ///
    /// The certificate of the gateway and the link are for this address, which is why 0.0.0.0 and
    /// :: will not do. Whoever reaches it reaches the stack, which is made for development: nobody
    /// vouches for its certificates, and it limits no client.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value_t = Ipv4Addr::LOCALHOST.into(),
        value_parser = address_of_this_machine
    )]
    pub listen: IpAddr,
    /// Have NATS, AMS and the agent listen there as well: for instances, agents or users of AMS on
    /// other machines. Each still asks for its token or client certificate.
    #[arg(long)]
    pub listen_all: bool,
    /// Let web pages of this origin call the gateway (CORS): scheme, host and port. May be
    /// repeated; pages of other origins cannot.
    #[arg(long = "origin", value_name = "URL", value_parser = origin)]
    pub origins: Vec<String>,
    /// An application that is ready and published from the start, made of an image such as
    /// jammy:android15:amd64 or, for cars, jammy:aaos15:amd64; may be repeated. The link starts the
    /// first.
    #[arg(
        long = "application",
        value_name = "NAME[=IMAGE]",
        default_value = APPLICATION,
        value_parser = ReadyApplication::from_str
    )]
    pub applications: Vec<ReadyApplication>,
    /// Write addresses, certificates, keys and tokens of all parts to this file, as variables that
    /// shells and dotenv read.
    ///
    /// The file is there once the stack is ready, whole and for this user alone (mode 0600), and
    /// goes away with the stack. A file that another `up` has left there is replaced; anything else
    /// there is left alone, and `up` refuses to start.
    #[arg(long, value_name = "FILE", conflicts_with = "smoke")]
    pub env: Option<PathBuf>,
}

/// Runs the stack until SIGINT or SIGTERM, or until the smoke session is over. Fails when a part
/// cannot be started or ends by itself, and when the session does not come to its end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let Options { smoke, state, env, .. } = &options;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stack = options.stack();
    crate::ams::check_names(&stack.applications)?;
    let env = env.as_deref().map(EnvFile::claim).transpose()?;
    if let Some(warning) = warning(&stack) {
        eprintln!("{warning}");
    }
    let workdir = Workdir::new(state.as_deref())?;
    let work = async {
        let mut services = Services::start(workdir.dir(), &workdir.keys, &stack).await?;
        // Goes away before the parts that it names.
        let mut env = env;
        if *smoke {
            let (nodes, app) = (services.nodes.clone(), services.application().to_owned());
            let session = smoke::run(nodes, services.client()?, app, started);
            return services.while_alive(session).await;
        }
        if let Some(env) = &mut env {
            env.write(&services.variables()?)?;
        }
        print_parts(&mut services, env.as_ref())?;
        services.while_alive(std::future::pending()).await
    };
    let shutdown_signal = || match smoke {
        true => Err(anyhow::anyhow!("interrupted")),
        false => Ok(()),
    };
    let ended = tokio::select! {
        ended = work => ended,
        _ = interrupt.recv() => shutdown_signal(),
        _ = terminate.recv() => shutdown_signal(),
    };
    workdir.end(ended)
}

impl Options {
    fn stack(&self) -> processes::Options {
        processes::Options {
            listen: self.listen,
            listen_all: self.listen_all,
            origins: self.origins.clone(),
            applications: self.applications.clone(),
            boot: Duration::from_millis(self.boot_ms),
            transport: self.transport,
            relay: self.relay,
        }
    }
}

/// What it means that others can reach the stack, if they can.
fn warning(stack: &processes::Options) -> Option<String> {
    let processes::Options { listen, listen_all, .. } = stack;
    if listen.is_loopback() {
        return None;
    }
    let parts = match listen_all {
        true => "gateway, relay, media, NATS, AMS and agent",
        false => "gateway, relay and media",
    };
    Some(format!(
        "WARNING: this stack is open to the network: {parts} listen on {listen}.\n\
         Whoever reaches that address and has the token of the link can do everything with the \
         gateway;\nnobody vouches for the certificates, and no client is limited in what it asks. \
         Use it in a network\nthat you trust, and stop it when you are done."
    ))
}

fn print_parts(services: &mut Services, env: Option<&EnvFile>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    for part in services.parts() {
        let (name, address, log) = (part.name, part.address, part.log.display());
        writeln!(out, "{name:<15} {address:<42} pid {:<8} {log}", part.pid)?;
    }
    if !stream_simulators::has_vp8() {
        writeln!(out, "\nInstances have H.264 only: VP8 needs the package vpx-tools.")?;
    }
    if let Some(env) = env {
        writeln!(out, "\nFor test suites: {}", env.path().display())?;
    }
    writeln!(
        out,
        "\nOpen in a browser, which will warn of the certificate: nobody vouches for it. \
         Its SHA-256 is\n  {}\n\n  {}\n\nCtrl-C stops everything.",
        services.nodes.gateway_pin()?,
        services.link()
    )?;
    Ok(out.flush()?)
}

/// Reads an address that servers here can listen on and clients can call.
fn address_of_this_machine(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "an address is such as 192.0.2.7 or 2001:db8::7, without a port".to_owned())?;
    let address = address.to_canonical();
    if address.is_unspecified() {
        return Err("certificate and link are for one address: name the one that clients use; \
                    `ip -brief address` lists those of this machine"
            .to_owned());
    }
    // Addresses of groups can be listened on, and nobody can connect to them.
    let reached = TcpListener::bind((address, 0)).and_then(|listener| {
        TcpStream::connect_timeout(&listener.local_addr()?, CONNECT_TIMEOUT).map(drop)
    });
    match reached {
        Ok(()) => Ok(address),
        Err(error) => Err(format!(
            "nothing can listen on {address} ({error}): `ip -brief address` lists the addresses of \
             this machine"
        )),
    }
}

/// Reads the origin of a web page, as the gateway takes it.
fn origin(text: &str) -> Result<String, String> {
    let allowed_origins = vec![text.to_owned()];
    let config = stream_gateway::Config { allowed_origins, ..Default::default() };
    if text == "*" || config.check().is_err() {
        return Err(
            "an origin is such as https://app.example.com:8443, without a path; name each \
                    that may call the gateway"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = ["up"].iter().chain(arguments);
        Arguments::try_parse_from(arguments).map(|arguments| arguments.options)
    }

    /// What is said to whoever gives these arguments.
    fn refusal(arguments: &[&str]) -> String {
        let error = parse(arguments).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{error}");
        error.to_string()
    }

    #[test]
    fn without_options_the_stack_is_for_this_machine_alone() {
        let stack = parse(&[]).expect("options").stack();
        assert_eq!(stack.listen, Ipv4Addr::LOCALHOST);
        assert!(!stack.listen_all && stack.origins.is_empty());
        assert_eq!((stack.transport, stack.relay), (Transport::Rest, Relay::Never));
        assert_eq!(stack.applications, [ReadyApplication::from(APPLICATION)]);
        assert_eq!(warning(&stack), None);
    }

    #[test]
    fn instances_take_the_transport_and_the_relay_that_are_named() {
        let stack = parse(&["--transport", "hop", "--relay"]).expect("options").stack();
        assert_eq!((stack.transport, stack.relay), (Transport::Hop, Relay::Also));
        let stack = parse(&["--relay=only", "--smoke"]).expect("options").stack();
        assert_eq!(stack.relay, Relay::Only);
    }

    #[test]
    fn applications_take_the_place_of_the_default_one() {
        let given = ["--application", "phone", "--application", "car=jammy:aaos15:amd64"];
        let stack = parse(&given).expect("options").stack();
        let car = ReadyApplication {
            name: "car".to_owned(),
            image: Some("jammy:aaos15:amd64".to_owned()),
        };
        assert_eq!(stack.applications, [ReadyApplication::from("phone"), car]);
        assert!(refusal(&["--application", "a/b"]).contains("NAME=IMAGE"));
        assert!(refusal(&["--application", "car="]).contains("jammy:aaos15:amd64"));
    }

    #[test]
    fn an_origin_is_what_a_page_has() {
        let given =
            ["--origin", "https://client.example:8443", "--origin", "http://localhost:3000"];
        let origins = parse(&given).expect("options").origins;
        assert_eq!(origins, ["https://client.example:8443", "http://localhost:3000"]);
        for wrong in ["*", "client.example", "https://client.example/page", "ftp://client.example"]
        {
            let refusal = refusal(&["--origin", wrong]);
            assert!(refusal.contains("such as https://app.example.com:8443"), "{refusal}");
        }
    }

    #[test]
    fn the_stack_listens_on_one_address_that_this_machine_has() {
        for address in ["127.0.0.2", "::1"] {
            let stack = parse(&["--listen", address]).expect("options").stack();
            assert_eq!(stack.listen.to_string(), address);
            assert_eq!(warning(&stack), None, "{address}");
        }
        for (wrong, why) in [
            ("localhost", "such as 192.0.2.7"),
            ("127.0.0.1:4000", "without a port"),
            ("0.0.0.0", "name the one that clients use"),
            ("::", "name the one that clients use"),
            // For documentation: no machine has it.
            ("192.0.2.7", "ip -brief address"),
            ("224.0.0.1", "ip -brief address"),
        ] {
            let refusal = refusal(&["--listen", wrong]);
            assert!(refusal.contains(why), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn a_stack_for_others_says_who_can_do_what() {
        let listen = "192.0.2.7".parse().expect("an address");
        let stack = processes::Options { listen, ..Default::default() };
        let some = warning(&stack).expect("a warning");
        assert!(some.contains("gateway, relay and media listen on 192.0.2.7"), "{some}");
        let all = warning(&processes::Options { listen_all: true, ..stack }).expect("a warning");
        assert!(all.contains("NATS, AMS and agent listen on 192.0.2.7"), "{all}");
    }

    #[test]
    fn a_smoke_run_writes_no_file_for_others() {
        let error = parse(&["--smoke", "--env", "x"]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }
}

//! What runs the services in containers: it says of ports, paths, probes and times what the
//! services and their units of systemd say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_norway::Value;

use crate::sources::root;
use crate::units::{seconds, unit};

/// A service, and the number of its user in a container.
const SERVICES: [(&str, u64); 2] = [("agent", 10033), ("gateway", 10040)];

fn read(file: &str) -> String {
    let path = root().join("config").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The port on which a service listens by itself.
fn port(service: &str) -> u64 {
    let config = read(&format!("{service}.toml"));
    let address = config.lines().find_map(|line| line.strip_prefix("#listen = "));
    address.unwrap().trim_matches('"').rsplit(':').next().unwrap().parse().unwrap()
}

/// The instructions of a container file: name and words, continued lines joined.
fn instructions(service: &str) -> Vec<(String, String)> {
    let text = read(&format!("containers/{service}.Containerfile"));
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let split = |line: &str| {
        let (name, words) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), words.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().map(split).collect()
}

/// Every document of a YAML file.
fn yaml(file: &str) -> Vec<Value> {
    let text = read(&format!("containers/{file}"));
    let documents = serde_norway::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// What stands at `path`, whose parts are names and numbers of a list.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, part| {
        let found = match part.parse::<usize>() {
            Ok(number) => value.get(number),
            Err(_) => value.get(part),
        };
        found.unwrap_or_else(|| panic!("there is no {part} of {path}"))
    })
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_else(|| panic!("{path} is no text"))
}

fn number(value: &Value, path: &str) -> u64 {
    at(value, path).as_u64().unwrap_or_else(|| panic!("{path} is no number"))
}

/// The texts of a list.
fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    let list = at(value, path).as_sequence().unwrap_or_else(|| panic!("{path} is no list"));
    list.iter().map(|item| item.as_str().unwrap()).collect()
}

/// What `run` is called with, as the unit has it.
fn arguments(service: &str) -> Vec<String> {
    let unit = unit(&format!("stream-{service}"));
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    command.split(' ').map(str::to_owned).collect()
}

/// Checks that variables override keys that there are.
fn are_keys<'a>(service: &str, variables: impl IntoIterator<Item = &'a str>) {
    let reference: toml::Table = read(&format!("{service}.toml")).parse().unwrap();
    for variable in variables {
        let key = variable.strip_prefix("STREAM__").unwrap().to_lowercase();
        let (section, key) = key.split_once("__").unwrap();
        assert!(reference[section].get(key).is_some(), "{service}.toml has no {variable}");
    }
}

#[test]
fn an_image_is_made_of_the_package_and_runs_it_as_its_unit_does() {
    for (service, user) in SERVICES {
        let instructions = instructions(service);
        let all = |name: &str| {
            let named = instructions.iter().filter(move |(found, _)| found == name);
            named.map(|(_, words)| words.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(all("FROM"), ["debian:12-slim"]);
        assert_eq!(all("USER"), [format!("{user}:{user}")]);
        assert_eq!(all("EXPOSE"), [port(service).to_string()]);
        let made = all("RUN").join("\n");
        let package = format!("dpkg --install /packages/stream-{service}_*.deb");
        assert!(made.contains(&package), "{made}");
        assert!(made.contains(&format!("--uid {user} --gid {user} ")), "{made}");

        let parse = |words: &str| serde_json::from_str::<Vec<String>>(words).unwrap();
        let run = [parse(all("ENTRYPOINT")[0]), parse(all("CMD")[0])].concat();
        assert_eq!(run, arguments(service));
        let unit = unit(&format!("stream-{service}"));
        let (of_unit, keys): (Vec<_>, Vec<_>) = all("ENV")
            .into_iter()
            .flat_map(|words| words.split(' '))
            .partition(|variable| !variable.starts_with("STREAM__"));
        assert!(of_unit.iter().all(|set| unit.contains(&format!("\nEnvironment={set}\n"))));
        assert_eq!(of_unit.len(), unit.matches("\nEnvironment=").count(), "{of_unit:?}");
        assert!(!keys.is_empty());
        let state = format!("/var/lib/stream-{service}");
        assert!(keys.iter().all(|set| set.ends_with(&format!("=/var/lib/stream-{service}"))));
        assert!(made.contains(&state), "{made}");
        are_keys(service, keys.iter().map(|set| set.split('=').next().unwrap()));
    }
}

#[test]
fn compose_runs_both_services_with_the_limits_of_their_units() {
    let compose = yaml("compose.yaml").remove(0);
    // Anchors are merged by whoever reads it.
    let common = at(&compose, "x-service");
    for (service, user) in SERVICES {
        let name = format!("stream-{service}");
        let of_service = at(&compose, &format!("services.{service}"));
        assert_eq!(at(of_service, "<<"), common);
        let (port, unit) = (port(service), unit(&name));
        assert_eq!(texts(of_service, "ports"), [format!("{port}:{port}")]);
        let volumes = texts(of_service, "volumes");
        assert!(volumes.contains(&format!("./{service}:/etc/{name}:ro").as_str()));
        assert!(volumes.contains(&format!("{service}-state:/var/lib/{name}").as_str()));
        let run = format!("/run/{name}:uid={user},gid={user},mode=0700");
        assert_eq!(texts(of_service, "tmpfs"), [run]);
        assert!(read(&format!("{service}.toml")).contains(&format!("socket = \"/run/{name}/")));
        assert_eq!(texts(of_service, "healthcheck.test"), ["CMD", &name, "status"]);

        assert_eq!(text(common, "restart"), "on-failure");
        assert!(unit.contains("\nRestart=on-failure\n"));
        let stop = seconds(&unit, "TimeoutStopSec");
        assert_eq!(text(common, "stop_grace_period"), format!("{stop}s"));
        let limits = [
            format!("MemoryMax={}", text(common, "mem_limit").to_uppercase()),
            format!("TasksMax={}", number(common, "pids_limit")),
            format!("LimitNOFILE={}", number(common, "ulimits.nofile")),
            format!("LimitCORE={}", number(common, "ulimits.core")),
        ];
        for limit in limits {
            assert!(unit.contains(&format!("\n{limit}\n")), "{name}: {limit}");
        }
    }
    for service in ["agent", "gateway", "nats", "coturn"] {
        let found = at(&compose, &format!("services.{service}"));
        let found = found.get("<<").unwrap_or(found);
        assert_eq!(at(found, "read_only"), &Value::Bool(true), "{service}");
        assert_eq!(texts(found, "cap_drop"), ["ALL"], "{service}");
    }
}

#[test]
fn compose_gives_nats_and_coturn_the_files_that_their_references_name() {
    let compose = yaml("compose.yaml").remove(0);
    let nats = read("nats-server.conf");
    let volumes = texts(&compose, "services.nats.volumes");
    for target in volumes.iter().filter_map(|volume| volume.split(':').nth(1)) {
        let named = nats.contains(&format!("\"{target}\""));
        assert!(named || target == "/etc/nats/nats-server.conf", "{target}");
    }
    assert_eq!(nats.matches("\"/").count(), volumes.len() - 1, "each has a place: {volumes:?}");
    let command = ["--config", "/etc/nats/nats-server.conf"];
    assert_eq!(texts(&compose, "services.nats.command"), command);
    let environment = at(&compose, "services.nats.environment").as_mapping().unwrap();
    for name in environment.keys() {
        assert!(nats.contains(&format!("${}", name.as_str().unwrap())), "{name:?}");
    }
    // Its ports are those of the reference: it shares the network of the machine.
    assert_eq!(text(&compose, "services.coturn.network_mode"), "host");
    let config = texts(&compose, "services.coturn.command")[1];
    let volume = texts(&compose, "services.coturn.volumes")[0];
    assert_eq!(volume, format!("./coturn/turnserver.conf:{config}:ro"));
}

#[test]
fn kubernetes_probes_what_is_served_and_waits_for_a_drain() {
    for (service, user) in SERVICES {
        let name = format!("stream-{service}");
        let (port, unit) = (port(service), unit(&name));
        let documents = yaml(&format!("kubernetes/{service}.yaml"));
        let by_kind: BTreeMap<_, _> = documents.iter().map(|d| (text(d, "kind"), d)).collect();
        assert_eq!(number(by_kind["Service"], "spec.ports.0.port"), port);
        assert_eq!(text(by_kind["Service"], "spec.ports.0.targetPort"), "https");
        for document in &documents {
            assert_eq!(text(document, "metadata.name"), name);
        }
        let pod = at(by_kind["StatefulSet"], "spec.template.spec");
        assert_eq!(number(pod, "securityContext.runAsUser"), user);
        assert_eq!(number(pod, "securityContext.fsGroup"), user);
        let container = at(pod, "containers.0");
        let image = format!("{name}:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(text(container, "image"), image);
        assert_eq!(texts(container, "args"), arguments(service)[1..]);
        assert_eq!(number(container, "ports.0.containerPort"), port);
        assert_eq!(text(container, "ports.0.name"), "https");

        let crate_name = if service == "agent" { "api" } else { "gateway" };
        let routes = root().join(format!("actors/{crate_name}/src/routes.rs"));
        let routes = std::fs::read_to_string(routes).unwrap();
        for (probe, end) in [("livenessProbe", "live"), ("readinessProbe", "ready")] {
            let probe = at(container, &format!("{probe}.httpGet"));
            let path = text(probe, "path");
            assert!(path.ends_with(end) && routes.contains(&format!("GET \"{path}\"")), "{path}");
            assert_eq!((text(probe, "scheme"), text(probe, "port")), ("HTTPS", "https"));
        }
        let liveness = at(container, "livenessProbe");
        let longest_s = number(liveness, "periodSeconds") * number(liveness, "failureThreshold");
        assert!(longest_s >= seconds(&unit, "WatchdogSec"), "{longest_s} s");
        let before = texts(container, "lifecycle.preStop.exec.command")[1].parse::<u64>().unwrap();
        let grace = number(pod, "terminationGracePeriodSeconds");
        assert_eq!(grace, before + seconds(&unit, "TimeoutStopSec"));
        let memory = text(container, "resources.limits.memory").replace("Gi", "G");
        assert!(unit.contains(&format!("\nMemoryMax={memory}\n")), "{memory}");
        let locked = at(container, "securityContext");
        assert_eq!(at(locked, "readOnlyRootFilesystem"), &Value::Bool(true));
        assert_eq!(at(locked, "allowPrivilegeEscalation"), &Value::Bool(false));
        assert_eq!(texts(locked, "capabilities.drop"), ["ALL"]);

        let mounts = at(container, "volumeMounts").as_sequence().unwrap();
        let mounted: BTreeMap<_, _> =
            mounts.iter().map(|mount| (text(mount, "name"), text(mount, "mountPath"))).collect();
        assert_eq!(mounted["config"], format!("/etc/{name}"));
        assert_eq!(mounted["state"], format!("/var/lib/{name}"));
        assert_eq!(mounted["run"], "/run");
        let variables = container.get("env").and_then(Value::as_sequence).into_iter().flatten();
        are_keys(service, variables.map(|variable| text(variable, "name")));
    }
    // A secret that its group can change, or that everybody can read, is refused.
    let modes = SERVICES.map(|(service, _)| read(&format!("containers/kubernetes/{service}.yaml")));
    assert!(modes.iter().all(|text| text.contains("\n            defaultMode: 0440\n")));
}

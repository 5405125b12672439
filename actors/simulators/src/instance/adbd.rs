//! The daemon of a device to which `adb` speaks, as far as a shell goes: a state machine over
//! bytes. Pure.
//!
//! It asks for no key: whoever reaches it came through the token of a share.

mod packet;
mod shell;

use std::collections::BTreeMap;

use packet::{Command, MAX_DATA, Packet, PacketError, VERSION};

/// More services than one `adb` has open at once.
const MAX_SERVICES: usize = 16;

/// The least that a peer takes in one packet, whatever it says.
const MIN_DATA: usize = 256;

/// What the device says of itself.
const BANNER: &str = "device::ro.product.name=simulated;ro.product.model=simulated;\
    ro.product.device=simulated;features=shell_v2,cmd";

/// Why the daemon hangs up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum AdbdError {
    #[error("adb sent {0}")]
    Packet(#[from] PacketError),
    #[error("adb spoke before it had connected")]
    NotConnected,
}

/// One connection of an `adb` server. Holds a packet at most of what came, and for each service
/// what a command of a packet's size answers.
#[derive(Default)]
pub(super) struct Adbd {
    received: Vec<u8>,
    peer: Option<Peer>,
    /// By our own ids.
    services: BTreeMap<u32, Service>,
    last_id: u32,
}

/// What the peer said of itself.
#[derive(Clone, Copy)]
struct Peer {
    version: u32,
    /// The most that it takes in one packet.
    max_data: usize,
}

/// An open service, which speaks one packet at a time.
struct Service {
    remote: u32,
    /// What is still to be said, in the size of packets, the last first.
    output: Vec<Vec<u8>>,
}

impl Adbd {
    /// Takes bytes of the peer and returns those that are for it.
    ///
    /// # Errors
    ///
    /// The connection is of no use any more.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, AdbdError> {
        let mut answer = Vec::new();
        for part in bytes.chunks(MAX_DATA) {
            self.received.extend_from_slice(part);
            loop {
                let version = self.peer.map_or(VERSION, |peer| peer.version);
                let Some(packet) = Packet::take(&mut self.received, version)? else { break };
                for packet in self.on_packet(packet)? {
                    packet.write_to(&mut answer);
                }
            }
        }
        Ok(answer)
    }

    fn on_packet(&mut self, packet: Packet) -> Result<Vec<Packet>, AdbdError> {
        let Packet { command, arg0, arg1, data } = packet;
        if command == Command::Connect {
            return Ok(vec![self.connect(arg0, arg1)]);
        }
        let peer = self.peer.ok_or(AdbdError::NotConnected)?;
        Ok(match command {
            Command::Open => self.open(peer, arg0, &data),
            // What a command reads of its input: nothing.
            Command::Write => match self.find(arg1, arg0) {
                Some(_) => vec![Packet::new(Command::Okay, arg1, arg0, Vec::new())],
                None => vec![Packet::new(Command::Close, 0, arg0, Vec::new())],
            },
            Command::Okay => self.go_on(arg1, arg0),
            Command::Close => self.close(arg1, arg0),
            Command::Connect | Command::Other(_) => Vec::new(),
        })
    }

    /// Begins anew, as a device does whose `adb` begins anew.
    fn connect(&mut self, version: u32, max_data: u32) -> Packet {
        let max_data = usize::try_from(max_data).unwrap_or(MAX_DATA).clamp(MIN_DATA, MAX_DATA);
        self.peer = Some(Peer { version: version.min(VERSION), max_data });
        self.services.clear();
        Packet::new(Command::Connect, VERSION, MAX_DATA as u32, BANNER.as_bytes().to_vec())
    }

    /// Opens the service that is named, or says that there is none.
    fn open(&mut self, peer: Peer, remote: u32, name: &[u8]) -> Vec<Packet> {
        let name = String::from_utf8_lossy(name);
        let Some(output) = output_of(name.trim_end_matches('\0')) else {
            return vec![Packet::new(Command::Close, 0, remote, Vec::new())];
        };
        if self.services.len() >= MAX_SERVICES {
            return vec![Packet::new(Command::Close, 0, remote, Vec::new())];
        }
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let id = self.last_id;
        let output = output.chunks(peer.max_data).rev().map(<[u8]>::to_vec).collect();
        self.services.insert(id, Service { remote, output });
        let mut answer = vec![Packet::new(Command::Okay, id, remote, Vec::new())];
        answer.extend(self.go_on(id, remote));
        answer
    }

    /// Says what is next of service `id`, whose last packet was taken; its end after the last.
    fn go_on(&mut self, id: u32, remote: u32) -> Vec<Packet> {
        let Some(service) = self.find(id, remote) else { return Vec::new() };
        match service.output.pop() {
            Some(data) => vec![Packet::new(Command::Write, id, remote, data)],
            None => {
                self.services.remove(&id);
                vec![Packet::new(Command::Close, id, remote, Vec::new())]
            }
        }
    }

    /// Closes a service at the wish of the peer; what is closed already is not answered.
    fn close(&mut self, id: u32, remote: u32) -> Vec<Packet> {
        match self.find(id, remote) {
            Some(_) => {
                self.services.remove(&id);
                vec![Packet::new(Command::Close, id, remote, Vec::new())]
            }
            None => Vec::new(),
        }
    }

    fn find(&mut self, id: u32, remote: u32) -> Option<&mut Service> {
        self.services.get_mut(&id).filter(|service| service.remote == remote)
    }
}

/// Returns what the service `name` says, `None` if there is none: `shell:COMMAND`, or
/// `shell,v2,ARGUMENTS:COMMAND`.
fn output_of(name: &str) -> Option<Vec<u8>> {
    let (service, command) = name.split_once(':')?;
    let mut words = service.split(',');
    if words.next() != Some("shell") {
        return None;
    }
    let output = shell::run(command);
    Some(if words.any(|word| word == "v2") { output.frames() } else { output.plain() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_VERSION: u32 = 0x0100_0000;

    fn packet(command: Command, arg0: u32, arg1: u32, data: &[u8]) -> Packet {
        Packet::new(command, arg0, arg1, data.to_vec())
    }

    /// Has `adbd` take a packet and returns its answers.
    fn told(adbd: &mut Adbd, packet: Packet) -> Vec<Packet> {
        let mut bytes = Vec::new();
        packet.write_to(&mut bytes);
        let mut answer = adbd.receive(&bytes).unwrap();
        let mut packets = Vec::new();
        while let Some(packet) = Packet::take(&mut answer, OLD_VERSION).unwrap() {
            packets.push(packet);
        }
        assert!(answer.is_empty());
        packets
    }

    fn connected(version: u32, max_data: u32) -> Adbd {
        let mut adbd = Adbd::default();
        let hello = packet(Command::Connect, version, max_data, b"host::features=shell_v2\0");
        let answer = told(&mut adbd, hello);
        assert_eq!((answer.len(), answer[0].command), (1, Command::Connect));
        assert!(answer[0].data.starts_with(b"device::"), "no key is asked for");
        adbd
    }

    #[test]
    fn a_shell_says_what_it_has_a_packet_at_a_time_and_closes() {
        for (version, service, says) in [
            (OLD_VERSION, "shell:echo hello\0", b"hello\n".to_vec()),
            (
                VERSION,
                "shell,v2,TERM=xterm,raw:echo hello\0",
                b"\x01\x06\0\0\0hello\n\x03\x01\0\0\0\0".to_vec(),
            ),
        ] {
            let mut adbd = connected(version, 4096);
            let answer = told(&mut adbd, packet(Command::Open, 7, 0, service.as_bytes()));
            let expected = [packet(Command::Okay, 1, 7, b""), packet(Command::Write, 1, 7, &says)];
            assert_eq!(answer, expected);
            let answer = told(&mut adbd, packet(Command::Okay, 7, 1, b""));
            assert_eq!(answer, [packet(Command::Close, 1, 7, b"")]);
            assert!(told(&mut adbd, packet(Command::Close, 7, 1, b"")).is_empty());
            assert!(told(&mut adbd, packet(Command::Okay, 7, 1, b"")).is_empty());
        }
    }

    #[test]
    fn what_is_more_than_the_peer_takes_waits_for_its_word() {
        let mut adbd = connected(VERSION, 4096);
        let long = "x".repeat(6000);
        let answer =
            told(&mut adbd, packet(Command::Open, 7, 0, format!("shell:echo {long}").as_bytes()));
        assert_eq!(answer[1].data.len(), 4096);
        let answer = told(&mut adbd, packet(Command::Okay, 7, 1, b""));
        assert_eq!(answer[0].data.len(), 6001 - 4096);
        assert_eq!(told(&mut adbd, packet(Command::Okay, 7, 1, b""))[0].command, Command::Close);
    }

    #[test]
    fn input_is_taken_and_other_services_are_refused() {
        let mut adbd = connected(VERSION, 4096);
        told(&mut adbd, packet(Command::Open, 7, 0, b"shell,v2:ls\0"));
        let answer = told(&mut adbd, packet(Command::Write, 7, 1, b"\x04\0\0\0\0"));
        assert_eq!(answer, [packet(Command::Okay, 1, 7, b"")]);
        let refused = [packet(Command::Close, 0, 8, b"")];
        assert_eq!(told(&mut adbd, packet(Command::Open, 8, 0, b"sync:\0")), refused);
        assert_eq!(told(&mut adbd, packet(Command::Write, 8, 5, b"x")), refused);
        let answer = told(&mut adbd, packet(Command::Close, 7, 1, b""));
        assert_eq!(answer, [packet(Command::Close, 1, 7, b"")]);
    }

    #[test]
    fn services_are_bounded_and_end_with_the_next_connection() {
        let mut adbd = connected(VERSION, 4096);
        let open =
            |adbd: &mut Adbd, remote| told(adbd, packet(Command::Open, remote, 0, b"shell:echo a"));
        for remote in 1..=MAX_SERVICES as u32 {
            assert_eq!(open(&mut adbd, remote)[0].command, Command::Okay);
        }
        assert_eq!(open(&mut adbd, 99), [packet(Command::Close, 0, 99, b"")]);
        told(&mut adbd, packet(Command::Connect, VERSION, 4096, b"host::"));
        assert_eq!(open(&mut adbd, 99)[0].command, Command::Okay);
    }

    #[test]
    fn whoever_says_what_is_no_packet_or_does_not_connect_is_hung_up_on() {
        let mut bytes = Vec::new();
        packet(Command::Open, 7, 0, b"shell:ls").write_to(&mut bytes);
        assert_eq!(Adbd::default().receive(&bytes), Err(AdbdError::NotConnected));
        assert!(Adbd::default().receive(&[0xff; 64]).is_err());
        let mut adbd = connected(OLD_VERSION, 4096);
        bytes[16] ^= 1;
        assert_eq!(adbd.receive(&bytes), Err(AdbdError::Packet(PacketError::Checksum)));
    }
}

//! The packets of ADB, as its protocol.txt has them: a header of six little-endian words, and data.
//! Pure.

/// The length of a header.
pub(super) const HEADER: usize = 24;

/// The most data of one packet that is taken and announced.
pub(super) const MAX_DATA: usize = 64 * 1024;

/// The version whose peers check the sum over the data.
const CHECKED_VERSION: u32 = 0x0100_0000;

/// The version whose peers do not, the newest.
pub(super) const VERSION: u32 = 0x0100_0001;

/// What a packet is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    Close,
    Connect,
    Okay,
    Open,
    Write,
    /// One that is not answered, such as an attempt to authenticate.
    Other(u32),
}

impl Command {
    fn of(word: u32) -> Self {
        match &word.to_le_bytes() {
            b"CLSE" => Self::Close,
            b"CNXN" => Self::Connect,
            b"OKAY" => Self::Okay,
            b"OPEN" => Self::Open,
            b"WRTE" => Self::Write,
            _ => Self::Other(word),
        }
    }

    fn word(self) -> u32 {
        match self {
            Self::Close => u32::from_le_bytes(*b"CLSE"),
            Self::Connect => u32::from_le_bytes(*b"CNXN"),
            Self::Okay => u32::from_le_bytes(*b"OKAY"),
            Self::Open => u32::from_le_bytes(*b"OPEN"),
            Self::Write => u32::from_le_bytes(*b"WRTE"),
            Self::Other(word) => word,
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Packet {
    pub(super) command: Command,
    pub(super) arg0: u32,
    pub(super) arg1: u32,
    pub(super) data: Vec<u8>,
}

/// Why bytes are no packets; whoever sent them has lost its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::instance) enum PacketError {
    #[error("a header that is none")]
    Magic,
    #[error("a packet of {0} bytes")]
    TooLarge(u32),
    #[error("data with another sum than its header says")]
    Checksum,
}

impl Packet {
    pub(super) fn new(command: Command, arg0: u32, arg1: u32, data: Vec<u8>) -> Self {
        Self { command, arg0, arg1, data }
    }

    /// Takes the packet that `bytes` begin with; `None` while a part of it is missing. Its sum
    /// counts if it comes from a peer of the old `version`, or says its version with it.
    pub(super) fn take(bytes: &mut Vec<u8>, version: u32) -> Result<Option<Self>, PacketError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let word = |at: usize| {
            let word = &header[4 * at..4 * at + 4];
            u32::from_le_bytes([word[0], word[1], word[2], word[3]])
        };
        let (command, arg0, arg1, length) = (word(0), word(1), word(2), word(3));
        if word(5) != !command {
            return Err(PacketError::Magic);
        }
        let Some(size) = usize::try_from(length).ok().filter(|size| *size <= MAX_DATA) else {
            return Err(PacketError::TooLarge(length));
        };
        let sum = word(4);
        if bytes.len() < HEADER + size {
            return Ok(None);
        }
        let data: Vec<u8> = bytes.drain(..HEADER + size).skip(HEADER).collect();
        let command = Command::of(command);
        let version = if command == Command::Connect { arg0 } else { version };
        if version <= CHECKED_VERSION && sum != checksum(&data) {
            return Err(PacketError::Checksum);
        }
        Ok(Some(Self { command, arg0, arg1, data }))
    }

    /// Adds the bytes of the packet to `bytes`. The sum is right for peers of all versions.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        let (command, length) = (self.command.word(), self.data.len() as u32);
        for word in [command, self.arg0, self.arg1, length, checksum(&self.data), !command] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.data);
    }
}

/// The sum of all bytes, which the protocol calls a CRC.
fn checksum(data: &[u8]) -> u32 {
    data.iter().fold(0, |sum: u32, byte| sum.wrapping_add(u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(packet: &Packet) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.write_to(&mut bytes);
        bytes
    }

    #[test]
    fn a_packet_looks_as_the_protocol_says_and_is_read_however_it_comes() {
        let packet = Packet::new(Command::Write, 1, 2, b"hi".to_vec());
        let whole = bytes(&packet);
        assert_eq!(&whole[..4], b"WRTE");
        assert_eq!(whole[12..20], [2, 0, 0, 0, 0xd1, 0, 0, 0], "length and sum");
        assert_eq!(whole.len(), HEADER + 2);
        let mut come = Vec::new();
        for (number, byte) in [whole.clone(), whole.clone()].concat().into_iter().enumerate() {
            come.push(byte);
            let taken = Packet::take(&mut come, CHECKED_VERSION).unwrap();
            let is_whole = (number + 1) % whole.len() == 0;
            assert_eq!(taken, is_whole.then(|| packet.clone()));
        }
        assert!(come.is_empty());
    }

    #[test]
    fn the_sum_counts_for_peers_of_the_old_version_alone() {
        let mut wrong = bytes(&Packet::new(Command::Write, 1, 2, b"hi".to_vec()));
        wrong[16] = 0;
        let taken = |version| Packet::take(&mut wrong.clone(), version);
        assert_eq!(taken(CHECKED_VERSION), Err(PacketError::Checksum));
        assert!(taken(VERSION).unwrap().is_some());
        // Of a peer that has not said its version yet.
        let mut connect = bytes(&Packet::new(Command::Connect, VERSION, 4096, b"host::".to_vec()));
        connect[16] = 0;
        assert!(Packet::take(&mut connect, CHECKED_VERSION).unwrap().is_some());
    }

    #[test]
    fn what_is_no_packet_or_too_large_is_refused_by_its_header() {
        let whole = bytes(&Packet::new(Command::Okay, 1, 2, Vec::new()));
        let mut magic = whole.clone();
        magic[20] ^= 1;
        assert_eq!(Packet::take(&mut magic, VERSION), Err(PacketError::Magic));
        let mut large = whole;
        large[12..16].copy_from_slice(&(MAX_DATA as u32 + 1).to_le_bytes());
        let refused = Packet::take(&mut large, VERSION);
        assert_eq!(refused, Err(PacketError::TooLarge(MAX_DATA as u32 + 1)));
    }
}

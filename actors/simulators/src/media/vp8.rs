//! VP8 by the programs of Debian's `vpx-tools`, as child processes: raw pictures on one pipe,
//! coded ones in IVF on the other. They end with the coder that started them.

use std::fs::File;
use std::io::{self, Read};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time;

use super::Picture;

/// The [headers of IVF](https://wiki.multimedia.cx/index.php/Duck_IVF): of the file, and of each
/// frame its length and its time.
const FILE_HEADER: usize = 32;
const FRAME_HEADER: usize = 12;

/// More than a coded picture of any screen has.
const MAX_FRAME: usize = 16 << 20;

/// How long a program may take for one picture.
const CODING_TIMEOUT: Duration = Duration::from_secs(5);

/// Encodes pictures of one size. A key frame comes first and then every second.
pub(crate) struct Encoder {
    _program: Child,
    pictures: ChildStdin,
    frames: ChildStdout,
    begun: bool,
}

impl Encoder {
    /// Starts `vpxenc`. Needs a running loop.
    pub(crate) fn new(width: usize, height: usize, fps: u32) -> io::Result<Self> {
        let mut command = piped("vpxenc");
        command
            .args(["--codec=vp8", "--ivf", "--i420", "--rt", "--cpu-used=12", "--quiet"])
            .args([
                "--lag-in-frames=0",
                "--drop-frame=0",
                "--end-usage=vbr",
                "--target-bitrate=2500",
            ])
            .args(["--min-q=4", "--max-q=48", "--threads=1", "--error-resilient=1"])
            .arg(format!("--width={width}"))
            .arg(format!("--height={height}"))
            .arg(format!("--fps={fps}/1"))
            .arg(format!("--kf-max-dist={fps}"))
            .args(["--output=-", "-"]);
        let (program, pictures, frames) = start(command)?;
        Ok(Self { _program: program, pictures, frames, begun: false })
    }

    /// Returns the frame of `picture`.
    pub(crate) async fn encode(&mut self, picture: &Picture) -> io::Result<Vec<u8>> {
        time::timeout(CODING_TIMEOUT, self.exchange(picture)).await?
    }

    async fn exchange(&mut self, picture: &Picture) -> io::Result<Vec<u8>> {
        for plane in picture.planes() {
            self.pictures.write_all(plane).await?;
        }
        self.pictures.flush().await?;
        if !self.begun {
            self.frames.read_exact(&mut [0; FILE_HEADER]).await?;
            self.begun = true;
        }
        let mut header = [0; FRAME_HEADER];
        self.frames.read_exact(&mut header).await?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length > MAX_FRAME {
            return Err(io::Error::other("vpxenc wrote no IVF"));
        }
        let mut frame = vec![0; length];
        self.frames.read_exact(&mut frame).await?;
        Ok(frame)
    }
}

/// Decodes frames, and keeps the last picture. All pictures have the size of the first.
pub(crate) struct Decoder {
    _program: Child,
    frames: ChildStdin,
    pictures: watch::Receiver<Option<Picture>>,
}

impl Decoder {
    /// Starts `vpxdec` with a key frame; `None` for another frame, which nothing can be made of.
    /// Needs a running loop.
    pub(crate) async fn new(key_frame: &[u8]) -> io::Result<Option<Self>> {
        let Some((width, height)) = key_frame_size(key_frame) else { return Ok(None) };
        let mut command = piped("vpxdec");
        command.args(["--codec=vp8", "--i420", "--rawvideo", "--scale", "--keep-going"]);
        command.args(["--output=-", "-"]);
        let (program, mut frames, pictures) = start(command)?;
        frames.write_all(&file_header(width, height)).await?;
        let (decoded, latest) = watch::channel(None);
        let (width, height) = (usize::from(width), usize::from(height));
        let pictures = File::from(pictures.into_owned_fd()?);
        // Pictures are larger than a pipe: a thread of its own keeps it flowing, and ends with the
        // program.
        thread::Builder::new().name("vp8-pictures".to_owned()).spawn(move || {
            let _ = read_pictures(pictures, width, height, &decoded);
        })?;
        let mut decoder = Self { _program: program, frames, pictures: latest };
        decoder.decode(key_frame).await?;
        Ok(Some(decoder))
    }

    /// Gives a frame to the decoder.
    pub(crate) async fn decode(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut header = [0; FRAME_HEADER];
        header[..4].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        let write = async {
            self.frames.write_all(&header).await?;
            self.frames.write_all(frame).await?;
            self.frames.flush().await
        };
        time::timeout(CODING_TIMEOUT, write).await?
    }

    /// The last decoded picture, now and as it changes.
    pub(crate) fn pictures(&mut self) -> &mut watch::Receiver<Option<Picture>> {
        &mut self.pictures
    }
}

fn read_pictures(
    mut from: File,
    width: usize,
    height: usize,
    decoded: &watch::Sender<Option<Picture>>,
) -> io::Result<()> {
    let chroma = width.div_ceil(2) * height.div_ceil(2);
    let mut planes = vec![0; width * height + 2 * chroma];
    loop {
        from.read_exact(&mut planes)?;
        decoded.send_replace(Picture::from_planes(width, height, &planes));
    }
}

/// Returns the size in a [key frame](https://www.rfc-editor.org/rfc/rfc6386#section-9.1), and
/// `None` for another frame.
fn key_frame_size(frame: &[u8]) -> Option<(u16, u16)> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *frame else { return None };
    let size = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    let (width, height) = (size(w0, w1), size(h0, h1));
    (tag & 1 == 0 && width > 0 && height > 0).then_some((width, height))
}

fn file_header(width: u16, height: u16) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..4].copy_from_slice(b"DKIF");
    header[6] = FILE_HEADER as u8;
    header[8..12].copy_from_slice(b"VP80");
    header[12..14].copy_from_slice(&width.to_le_bytes());
    header[14..16].copy_from_slice(&height.to_le_bytes());
    header[16] = 30;
    header[20] = 1;
    header
}

/// Returns a program whose output is not held back until there is a block of it.
fn piped(program: &str) -> Command {
    let mut command = Command::new("stdbuf");
    command.args(["--output=0", program]);
    command
}

fn start(mut command: Command) -> io::Result<(Child, ChildStdin, ChildStdout)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut program = command.spawn()?;
    let pipes = program.stdin.take().zip(program.stdout.take());
    let (input, output) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
    Ok((program, input, output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Area, MAGENTA};

    #[test]
    fn only_a_key_frame_says_its_size() {
        let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41, 0];
        assert_eq!(key_frame_size(&key), Some((640, 360)));
        let mut other = key;
        other[0] |= 1;
        assert_eq!(key_frame_size(&other), None);
        assert_eq!(key_frame_size(&key[..9]), None);
    }

    #[tokio::test]
    async fn a_mark_survives_coding() {
        assert!(crate::media::has_vp8(), "vpx-tools is installed where tests run");
        let mut encoder = Encoder::new(320, 180, 30).unwrap();
        let mut picture = Picture::black(320, 180);
        let first = encoder.encode(&picture).await.unwrap();
        assert_eq!(key_frame_size(&first), Some((320, 180)), "a decoder can begin here");
        let mut decoder = Decoder::new(&first).await.unwrap().expect("a key frame");
        picture.fill(Area { x: 100, y: 100, width: 32, height: 32 }, MAGENTA);
        for _ in 0..10 {
            let frame = encoder.encode(&picture).await.unwrap();
            decoder.decode(&frame).await.unwrap();
        }
        let marked = |seen: &Option<Picture>| seen.as_ref().is_some_and(|p| p.is_marked(116, 116));
        let seen = time::timeout(CODING_TIMEOUT, decoder.pictures().wait_for(marked)).await;
        assert!(seen.unwrap().is_ok());
        assert!(Decoder::new(&[1, 2, 3]).await.unwrap().is_none());
    }
}

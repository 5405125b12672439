//! Which codecs there are for pictures, and which of them a client has, too.

use std::sync::OnceLock;

use str0m::format::Codec;

/// Coded by openh264, which is built in, and by the programs of Debian's `vpx-tools`, where these
/// are installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum VideoCodec {
    H264,
    Vp8,
}

impl VideoCodec {
    const ALL: [Self; 2] = [Self::H264, Self::Vp8];

    /// As SDP and clients' settings call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
        }
    }

    pub(crate) fn rtp(self) -> Codec {
        match self {
            Self::H264 => Codec::H264,
            Self::Vp8 => Codec::Vp8,
        }
    }

    fn is_called(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }
}

/// Whether the programs that code VP8 are installed. Without them, instances offer H.264 only.
pub fn has_vp8() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        ["vpxenc", "vpxdec", "stdbuf"].into_iter().all(has)
    })
}

/// Returns the codecs that this machine has, those first that the client prefers.
pub(crate) fn offered(preferred: &[String]) -> Vec<VideoCodec> {
    let rank = |codec: &VideoCodec| {
        let at = preferred.iter().position(|name| codec.is_called(name));
        at.unwrap_or(usize::MAX)
    };
    let available = |codec: &VideoCodec| *codec != VideoCodec::Vp8 || has_vp8();
    let mut codecs: Vec<_> = VideoCodec::ALL.into_iter().filter(available).collect();
    codecs.sort_by_key(rank);
    codecs
}

/// Returns the first of `ours` that a client's description has for its video, or what to tell a
/// client that has none of them. `None` for a description without video.
pub(crate) fn common(ours: &[VideoCodec], sdp: &str) -> Option<Result<VideoCodec, String>> {
    let theirs = of_video(sdp)?;
    let is_theirs = |ours: &&VideoCodec| theirs.iter().any(|name| ours.is_called(name));
    Some(ours.iter().find(is_theirs).copied().ok_or_else(|| {
        let ours: Vec<_> = ours.iter().map(|codec| codec.name()).collect();
        let theirs = if theirs.is_empty() { "none".to_owned() } else { theirs.join(", ") };
        format!("no codec in common: the instance has {}, the client {theirs}", ours.join(", "))
    }))
}

/// Returns the names of the codecs in the first video section of a [description], each once;
/// `None` when there is no such section. What only repeats or protects another one is none.
///
/// [description]: https://www.rfc-editor.org/rfc/rfc8866#section-6.6
fn of_video(sdp: &str) -> Option<Vec<String>> {
    let mut sections = sdp.split("\nm=").skip(1);
    let section = sections.find(|section| section.starts_with("video "))?;
    let mut names: Vec<String> = Vec::new();
    // A section with port 0 was refused as a whole.
    if section.split(' ').nth(1) == Some("0") {
        return Some(names);
    }
    let maps = section.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
    for map in maps {
        let name = map.split([' ', '/']).nth(1).unwrap_or_default().trim();
        let auxiliary = ["rtx", "red", "ulpfec", "flexfec-03", ""];
        if !auxiliary.contains(&name) && !names.iter().any(|known| known == name) {
            names.push(name.chars().take(32).collect());
        }
    }
    names.truncate(16);
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
        a=rtpmap:98 AV1/90000\r\na=rtpmap:99 AV1/90000\r\n";

    #[test]
    fn the_codecs_of_the_video_are_read() {
        assert_eq!(of_video(SDP).unwrap(), ["VP8", "AV1"]);
        assert_eq!(of_video("v=0\r\nm=audio 9 x 1\r\n"), None);
        let refused = SDP.replace("m=video 9", "m=video 0");
        assert_eq!(of_video(&refused).unwrap(), [""; 0]);
    }

    #[test]
    fn the_first_of_ours_that_is_theirs_is_taken() {
        let both = [VideoCodec::H264, VideoCodec::Vp8];
        assert_eq!(common(&both, SDP), Some(Ok(VideoCodec::Vp8)));
        let with_both = SDP.replace("AV1", "h264");
        assert_eq!(common(&both, &with_both), Some(Ok(VideoCodec::H264)));
        assert_eq!(common(&both, "v=0\r\n"), None);
        let told = common(&[VideoCodec::H264], SDP).unwrap().unwrap_err();
        assert_eq!(told, "no codec in common: the instance has H264, the client VP8, AV1");
    }

    #[test]
    fn what_the_client_prefers_comes_first() {
        let preferred = ["AV1".to_owned(), "VP8".to_owned()];
        let first = offered(&preferred)[0];
        assert_eq!(first, if has_vp8() { VideoCodec::Vp8 } else { VideoCodec::H264 });
        assert_eq!(offered(&[])[0], VideoCodec::H264);
    }
}

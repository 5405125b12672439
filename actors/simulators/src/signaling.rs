//! The [messages] between client and instance, as published clients
//! speak them. Unknown types are ignored, as they ignore them.
//!
//! [messages]: stream_protocol::manual::wire#signaling

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The newest version of the protocol: the instance makes the offer. Before it the client does,
/// and version 0 knows neither `discover` nor `settings`.
pub(crate) const API_VERSION: u32 = 2;

/// The only error code that every published client knows.
pub(crate) const BAD_REQUEST: u32 = 5;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ClientMessage {
    Answer {
        sdp: Base64,
    },
    Candidate(TrickledCandidate),
    Discover {},
    /// Protocol versions before 2 only.
    Offer {
        sdp: Base64,
    },
    Settings(Settings),
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum InstanceMessage {
    /// Protocol versions before 2 only.
    Answer {
        sdp: Base64,
    },
    Candidate(TrickledCandidate),
    Error {
        message: String,
        code: u32,
    },
    Offer {
        sdp: Base64,
        /// With the offer of an ICE restart: the renewal that led to it. Wait for the ICE servers
        /// of this renewal before you answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ice_renewal: Option<u64>,
    },
    #[serde(rename = "resp:discover")]
    Discovered {
        max_api_version: u32,
        #[serde(default)]
        capabilities: Vec<String>,
        fps: u32,
    },
    #[serde(other)]
    Unknown,
}

/// What the client wants to get and to give.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Settings {
    #[serde(default)]
    pub(crate) api_version: u32,
    #[serde(default)]
    pub(crate) data_channels: Vec<String>,
    #[serde(default)]
    pub(crate) enable_speaker: bool,
    #[serde(default)]
    pub(crate) enable_microphone: bool,
    #[serde(default)]
    pub(crate) enable_video: bool,
    #[serde(default)]
    pub(crate) enable_camera: bool,
    #[serde(default)]
    pub(crate) video: VideoSettings,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct VideoSettings {
    /// `AV1`, `H264`, `VP8` and `VP9`, the best first.
    pub(crate) preferred_decoder_codecs: Vec<String>,
}

/// One ICE candidate, sent on its own.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrickledCandidate {
    pub(crate) candidate: Base64,
    pub(crate) sdp_mid: Option<String>,
    #[serde(rename = "sdpMLineIndex")]
    pub(crate) sdp_m_line_index: Option<u16>,
}

/// Text that travels as base64 in the standard alphabet, padded: all that `atob` takes.
#[derive(Debug, PartialEq)]
pub(crate) struct Base64(pub(crate) String);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        String::from_utf8(bytes).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_published_clients_write_them() {
        let text = r#"{"type":"answer","sdp":"dj0w"}"#;
        let answer = ClientMessage::Answer { sdp: Base64("v=0".into()) };
        assert_eq!(serde_json::from_str::<ClientMessage>(text).unwrap(), answer);
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);

        let candidate = TrickledCandidate {
            candidate: Base64("candidate:1".into()),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
        };
        assert_eq!(
            serde_json::to_string(&InstanceMessage::Candidate(candidate)).unwrap(),
            r#"{"type":"candidate","candidate":"Y2FuZGlkYXRlOjE=","sdpMid":"0","sdpMLineIndex":0}"#
        );

        let discovered = InstanceMessage::Discovered {
            max_api_version: API_VERSION,
            capabilities: Vec::new(),
            fps: 30,
        };
        assert_eq!(
            serde_json::to_string(&discovered).unwrap(),
            r#"{"type":"resp:discover","max_api_version":2,"capabilities":[],"fps":30}"#
        );
    }

    #[test]
    fn an_unknown_message_is_no_error() {
        let message = serde_json::from_str::<ClientMessage>(r#"{"type":"dance","steps":3}"#);
        assert_eq!(message.unwrap(), ClientMessage::Unknown);
    }

    #[test]
    fn the_url_safe_alphabet_is_refused_as_browsers_refuse_it() {
        let offer = |sdp| format!(r#"{{"type":"offer","sdp":"{sdp}"}}"#);
        assert!(serde_json::from_str::<InstanceMessage>(&offer("fn5-fg==")).is_err());
        assert!(serde_json::from_str::<InstanceMessage>(&offer("fn5+fg==")).is_ok());
    }
}

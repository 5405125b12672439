//! What the client's camera sends, decoded.

use str0m::format::Codec;
use str0m::media::MediaData;

use crate::media::{MediaError, Picture, h264, vp8};

/// Decodes pictures, and keeps the last one.
#[derive(Default)]
pub(super) struct Camera {
    decoder: Option<Decoder>,
    latest: Option<Picture>,
}

enum Decoder {
    H264(Box<h264::Decoder>),
    Vp8(Box<vp8::Decoder>),
}

impl Camera {
    /// Takes what arrived; returns false when nothing can be made of it before the next key frame.
    pub(super) async fn decode(&mut self, data: &MediaData) -> Result<bool, MediaError> {
        let codec = data.params.spec().codec;
        if self.decoder.as_ref().is_none_or(|decoder| decoder.codec() != codec) {
            self.decoder = match codec {
                Codec::H264 => Some(Decoder::H264(Box::new(h264::Decoder::new()?))),
                Codec::Vp8 => {
                    let begun = vp8::Decoder::new(&data.data).await?;
                    self.decoder = begun.map(Box::new).map(Decoder::Vp8);
                    return Ok(self.decoder.is_some());
                }
                _ => None,
            };
        }
        match &mut self.decoder {
            Some(Decoder::H264(decoder)) => {
                let decoded = decoder.decode(&data.data);
                let whole = decoded.is_ok() && data.contiguous;
                if let Ok(Some(picture)) = decoded {
                    self.latest = Some(picture);
                }
                Ok(whole)
            }
            Some(Decoder::Vp8(decoder)) => {
                decoder.decode(&data.data).await?;
                Ok(data.contiguous)
            }
            None => Ok(true),
        }
    }

    /// Returns the last picture, if there is a new one.
    pub(super) fn take_picture(&mut self) -> Option<Picture> {
        if let Some(Decoder::Vp8(decoder)) = &mut self.decoder
            && decoder.pictures().has_changed().unwrap_or(false)
        {
            self.latest = decoder.pictures().borrow_and_update().clone();
        }
        self.latest.take()
    }
}

impl Decoder {
    fn codec(&self) -> Codec {
        match self {
            Self::H264(_) => Codec::H264,
            Self::Vp8(_) => Codec::Vp8,
        }
    }
}

//! The screen that a client asks for.

use serde::Deserialize;
use stream_protocol::{Refusal, RefusalCode, Screen, WholeNumber};

/// A screen with gaps: what is `None` the client leaves to others.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        description = "What is left out stays as it was, or is the default of a new session. \
        Odd sizes are rounded up by one; portrait turns the limits"
    )
)]
#[serde(default)]
pub struct ScreenRequest {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_LONG_SIDE)))]
    #[cfg_attr(feature = "schema", schemars(extend("default" = Screen::default().width)))]
    #[serde(deserialize_with = "WholeNumber::deserialize_option")]
    pub width: Option<u32>,
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_LONG_SIDE)))]
    #[cfg_attr(feature = "schema", schemars(extend("default" = Screen::default().height)))]
    #[serde(deserialize_with = "WholeNumber::deserialize_option")]
    pub height: Option<u32>,
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = Screen::MAX_FPS)))]
    #[cfg_attr(feature = "schema", schemars(extend("default" = Screen::default().fps)))]
    #[serde(deserialize_with = "WholeNumber::deserialize_option")]
    pub fps: Option<u32>,
    #[cfg_attr(feature = "schema", schemars(range(min = Screen::MIN_DENSITY, max = Screen::MAX_DENSITY)))]
    #[cfg_attr(feature = "schema", schemars(extend("default" = Screen::default().density)))]
    #[serde(deserialize_with = "WholeNumber::deserialize_option")]
    pub density: Option<u32>,
}

impl ScreenRequest {
    /// Turns every 0 into a gap, as the clients of AMS mean it.
    pub fn zero_is_absent(self) -> Self {
        let given = |size: Option<u32>| size.filter(|size| *size > 0);
        Self {
            width: given(self.width),
            height: given(self.height),
            fps: given(self.fps),
            density: given(self.density),
        }
    }

    /// Fills the gaps from `screen`.
    ///
    /// # Errors
    ///
    /// [`RefusalCode::Malformed`] when no screen can be like that.
    pub fn over(self, screen: Screen) -> Result<Screen, Refusal> {
        let screen = Screen {
            width: self.width.unwrap_or(screen.width),
            height: self.height.unwrap_or(screen.height),
            fps: self.fps.unwrap_or(screen.fps),
            density: self.density.unwrap_or(screen.density),
        };
        screen.checked().map_err(|error| Refusal::new(RefusalCode::Malformed, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_and_the_result_is_checked() {
        let screen = Screen { width: 100, height: 200, fps: 30, density: 160 };
        assert_eq!(ScreenRequest::default().over(screen), Ok(screen));
        let turned = ScreenRequest { width: Some(200), height: Some(100), ..Default::default() };
        assert_eq!(turned.over(screen), Ok(Screen { width: 200, height: 100, ..screen }));
        let wide = ScreenRequest { width: Some(9999), ..Default::default() };
        assert!(wide.over(screen).is_err());
    }

    #[test]
    fn zero_is_a_size_of_its_own_unless_it_means_nothing() {
        let zero = ScreenRequest { width: Some(0), fps: Some(0), ..Default::default() };
        assert!(zero.over(Screen::default()).is_err());
        assert_eq!(zero.zero_is_absent().over(Screen::default()), Ok(Screen::default()));
    }
}

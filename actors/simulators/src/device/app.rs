//! The application in front: four buttons, each of which asks something of the client.

use crate::control::{DeviceMessage, Sensor};

/// What a client brings, and may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Offers {
    pub(crate) camera: bool,
    pub(crate) microphone: bool,
}

/// The place of the microphone's button.
pub(super) const MICROPHONE: usize = 1;

#[derive(Default)]
pub(super) struct App {
    offers: Offers,
    camera: bool,
    microphone: bool,
    keyboard: bool,
    sensors: bool,
}

impl App {
    pub(super) fn with(offers: Offers) -> Self {
        Self { offers, ..Self::default() }
    }

    /// Returns what is on each button, and whether it is on.
    pub(super) fn buttons(&self) -> [(&'static str, bool); 4] {
        [
            (if self.offers.camera { "CAMERA" } else { "no cam" }, self.camera),
            (if self.offers.microphone { "MIC" } else { "no mic" }, self.microphone),
            ("KEYBOARD", self.keyboard),
            ("SENSORS", self.sensors),
        ]
    }

    /// Presses a button; returns what the client is asked for. It is not asked for what it does
    /// not have.
    pub(super) fn press(&mut self, button: usize) -> Vec<DeviceMessage> {
        let toggle = |on: &mut bool| {
            *on = !*on;
            *on
        };
        match button {
            0 if self.offers.camera => match toggle(&mut self.camera) {
                true => vec![DeviceMessage::OpenCamera],
                false => vec![DeviceMessage::CloseCamera],
            },
            MICROPHONE if self.offers.microphone => match toggle(&mut self.microphone) {
                true => vec![DeviceMessage::EnableMicrophone],
                false => vec![DeviceMessage::DisableMicrophone],
            },
            2 => match toggle(&mut self.keyboard) {
                true => vec![DeviceMessage::ShowIme],
                false => vec![DeviceMessage::HideIme],
            },
            3 => {
                let on = toggle(&mut self.sensors);
                let message = if on {
                    DeviceMessage::ActivateSensor
                } else {
                    DeviceMessage::DeactivateSensor
                };
                Sensor::ALL.map(message).into()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_button_asks_and_takes_back() {
        let mut app = App::with(Offers { camera: true, microphone: true });
        let mut pressed = |button| app.press(button);
        assert_eq!(pressed(0), [DeviceMessage::OpenCamera]);
        assert_eq!(pressed(0), [DeviceMessage::CloseCamera]);
        assert_eq!(pressed(1), [DeviceMessage::EnableMicrophone]);
        assert_eq!(pressed(1), [DeviceMessage::DisableMicrophone]);
        assert_eq!(pressed(2), [DeviceMessage::ShowIme]);
        assert_eq!(pressed(2), [DeviceMessage::HideIme]);
        assert_eq!(pressed(3), Sensor::ALL.map(DeviceMessage::ActivateSensor));
        assert_eq!(pressed(3), Sensor::ALL.map(DeviceMessage::DeactivateSensor));
        assert_eq!(pressed(4), []);
    }

    #[test]
    fn a_client_is_not_asked_for_what_it_does_not_have() {
        let mut app = App::default();
        assert_eq!(app.press(0), []);
        assert_eq!(app.press(MICROPHONE), []);
        assert!(app.buttons().iter().all(|(_, on)| !on));
    }
}

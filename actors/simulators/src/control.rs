//! The messages of the [control channel], as published clients speak them: what a client does to
//! the device, and what the device asks of it. What a client writes beyond that is ignored.
//!
//! [control channel]: stream_protocol::manual::wire#control-channel

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Label of the channel.
pub(crate) const CONTROL: &str = "control";

/// What a client says. Coordinates are pixels of the stream, and may be fractions.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum ControlMessage {
    #[serde(rename = "input::key")]
    Key { code: u32, pressed: bool },
    #[serde(rename = "input::mouse-button")]
    MouseButton { button: u32, pressed: bool },
    /// Without a place while the pointer is locked.
    #[serde(rename = "input::mouse-move")]
    MouseMove {
        #[serde(default)]
        rx: f64,
        #[serde(default)]
        ry: f64,
        x: Option<f64>,
        y: Option<f64>,
    },
    #[serde(rename = "input::mouse-wheel")]
    MouseWheel { x: f64, y: f64 },
    #[serde(rename = "input::touch-start")]
    TouchStart { id: u32, x: f64, y: f64 },
    #[serde(rename = "input::touch-move")]
    TouchMove { id: u32, x: f64, y: f64 },
    #[serde(rename = "input::touch-end")]
    TouchEnd { id: u32, last: bool },
    #[serde(rename = "input::gamepad-button")]
    GamepadButton { id: u32, index: u32, pressed: bool },
    #[serde(rename = "input::gamepad-axes")]
    GamepadAxes { id: u32, index: u32, value: f64 },
    #[serde(rename = "input::ime-event")]
    Ime(ImeEvent),
    #[serde(rename = "location::update-position")]
    Position(Position),
    // With one colon.
    #[serde(rename = "sensor:event")]
    Sensor(SensorEvent),
    #[serde(rename = "vhal::get-all-prop-configs")]
    PropertyConfigs,
    /// A property, or a whole configuration of one: only these two members say which.
    #[serde(rename = "vhal::get")]
    PropertyGet {
        prop: i64,
        #[serde(default)]
        area_id: i64,
    },
    #[serde(rename = "vhal::set")]
    PropertySet(Value),
    #[serde(rename = "stream::disconnect")]
    Disconnect {},
}

/// What an input method did.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ImeEvent {
    /// 1 text, 2 key code, 3 action, 4 composing text, 5 composing region.
    #[serde(rename = "type")]
    pub(crate) kind: u32,
    pub(crate) data: ImeData,
}

/// The members of all kinds.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct ImeData {
    pub(crate) text: Option<String>,
    pub(crate) code: Option<u32>,
    pub(crate) times: Option<u32>,
    pub(crate) name: Option<String>,
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// `x`, `y` and `z` of an acceleration or a gyroscope; the angles of an orientation.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SensorEvent {
    pub(crate) sensor: Sensor,
    #[serde(alias = "roll")]
    pub(crate) x: f64,
    #[serde(alias = "pitch")]
    pub(crate) y: f64,
    #[serde(alias = "azimuth")]
    pub(crate) z: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sensor {
    Acceleration,
    Gyroscope,
    Orientation,
}

impl Sensor {
    pub(crate) const ALL: [Self; 3] = [Self::Acceleration, Self::Gyroscope, Self::Orientation];
}

/// What the device asks of its client, or answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeviceMessage {
    ActivateSensor(Sensor),
    CloseCamera,
    DeactivateSensor(Sensor),
    DisableMicrophone,
    EnableMicrophone,
    HideIme,
    OpenCamera,
    PropertyConfigs(Value),
    PropertyGot(Value),
    PropertySet(Value),
    ShowIme,
}

impl DeviceMessage {
    /// Returns the message as it is sent: clients read `data` as a text that holds JSON.
    pub(crate) fn to_text(&self) -> String {
        let (kind, data) = match self {
            Self::ActivateSensor(sensor) => ("activate-sensor", json!({ "type": sensor })),
            Self::CloseCamera => ("close-camera", json!({})),
            Self::DeactivateSensor(sensor) => ("deactivate-sensor", json!({ "type": sensor })),
            Self::DisableMicrophone => ("disable-microphone", json!({})),
            Self::EnableMicrophone => {
                ("enable-microphone", json!({ "freq": 48_000, "channels": 1, "samples": 480 }))
            }
            Self::HideIme => ("hide-ime", json!({})),
            Self::OpenCamera => {
                let resolution = json!({ "width": 640, "height": 480 });
                let camera = json!({
                    "resolution": resolution, "facing-mode": "front", "frame-rate": 30,
                });
                ("open-camera", camera)
            }
            Self::PropertyConfigs(configs) => ("vhal-prop-configs", configs.clone()),
            Self::PropertyGot(answer) => ("vhal-get-answer", answer.clone()),
            Self::PropertySet(answer) => ("vhal-set-answer", answer.clone()),
            Self::ShowIme => ("show-ime", json!({})),
        };
        json!({ "type": kind, "data": data.to_string() }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ControlMessage {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_published_clients_write_is_read() {
        assert_eq!(
            read(r#"{"type":"input::touch-start","data":{"id":0,"x":12.5,"y":40}}"#),
            ControlMessage::TouchStart { id: 0, x: 12.5, y: 40.0 }
        );
        assert_eq!(
            read(r#"{"type":"input::mouse-move","data":{"rx":1,"ry":-1}}"#),
            ControlMessage::MouseMove { rx: 1.0, ry: -1.0, x: None, y: None }
        );
        assert_eq!(
            read(
                r#"{"type":"sensor:event","data":{"sensor":"orientation","roll":1,"pitch":2,"azimuth":3}}"#
            ),
            ControlMessage::Sensor(SensorEvent {
                sensor: Sensor::Orientation,
                x: 1.0,
                y: 2.0,
                z: 3.0
            })
        );
        let text = ImeData { text: Some("ü".into()), ..ImeData::default() };
        assert_eq!(
            read(r#"{"type":"input::ime-event","data":{"type":1,"data":{"text":"ü"}}}"#),
            ControlMessage::Ime(ImeEvent { kind: 1, data: text })
        );
        let position = r#"{"type":"location::update-position","data":{"time":1,"latitude":52.5,
            "longitude":13.4,"altitude":34,"speed":0,"bearing":0,"format":"wgs84"}}"#;
        let expected = Position { latitude: 52.5, longitude: 13.4 };
        assert_eq!(read(position), ControlMessage::Position(expected));
        assert_eq!(
            read(r#"{"type":"vhal::get-all-prop-configs"}"#),
            ControlMessage::PropertyConfigs
        );
        assert_eq!(
            read(r#"{"type":"vhal::get","data":{"prop":291504900,"access":3}}"#),
            ControlMessage::PropertyGet { prop: 291_504_900, area_id: 0 }
        );
        assert_eq!(
            read(r#"{"type":"stream::disconnect","data":{}}"#),
            ControlMessage::Disconnect {}
        );
    }

    #[test]
    fn what_the_device_says_holds_its_data_as_text() {
        let read = |message: DeviceMessage| -> Value {
            serde_json::from_str(&message.to_text()).expect("JSON")
        };
        let asked = read(DeviceMessage::ActivateSensor(Sensor::Gyroscope));
        assert_eq!(asked, json!({"type": "activate-sensor", "data": r#"{"type":"gyroscope"}"#}));
        let camera = read(DeviceMessage::OpenCamera);
        let data: Value = serde_json::from_str(camera["data"].as_str().expect("a text")).unwrap();
        assert_eq!(data["resolution"], json!({"width": 640, "height": 480}));
    }
}

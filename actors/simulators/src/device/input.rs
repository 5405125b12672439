//! What clients do to the device, as far as it is remembered: each thing that can be done shows in
//! a line of text. Nothing grows with what a client sends.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use crate::control::{ControlMessage, ImeData, ImeEvent, Position, Sensor, SensorEvent};

/// Touches, gamepads, and what these have, are numbered from 0.
const FINGERS: u32 = 10;
const GAMEPADS: u32 = 4;
const GAMEPAD_BUTTONS: u32 = 32;
const GAMEPAD_AXES: u32 = 6;

/// Characters that are kept of what was written.
const MAX_TEXT: usize = 30;

/// The key codes of Android that an input method sends to correct.
const ANDROID_ENTER: u32 = 66;
const ANDROID_DELETE: u32 = 67;

#[derive(Default)]
pub(super) struct Input {
    fingers: BTreeMap<u32, (f64, f64)>,
    pointer: Option<(f64, f64)>,
    /// How far the pointer went while it was locked.
    moved: (f64, f64),
    buttons: BTreeSet<u32>,
    wheel: (f64, f64),
    keys: BTreeSet<u32>,
    /// What happened last to a key or in an input method.
    last_key: String,
    text: String,
    composing: String,
    gamepads: BTreeMap<u32, Gamepad>,
    sensors: BTreeMap<Sensor, (f64, f64, f64)>,
    position: Option<(f64, f64)>,
}

#[derive(Default)]
struct Gamepad {
    buttons: BTreeSet<u32>,
    axes: BTreeMap<u32, f64>,
}

impl Input {
    /// Takes what a client did; returns where it tapped, if it did.
    pub(super) fn act(&mut self, message: &ControlMessage) -> Option<(f64, f64)> {
        match *message {
            ControlMessage::TouchStart { id, x, y } => {
                if id < FINGERS {
                    self.fingers.insert(id, (x, y));
                }
                return Some((x, y));
            }
            ControlMessage::TouchMove { id, x, y } => {
                if let Some(finger) = self.fingers.get_mut(&id) {
                    *finger = (x, y);
                }
            }
            ControlMessage::TouchEnd { id, last } => {
                self.fingers.remove(&id);
                if last {
                    self.fingers.clear();
                }
            }
            ControlMessage::MouseMove { rx, ry, x, y } => match x.zip(y) {
                Some(place) => self.pointer = Some(place),
                None => self.moved = (self.moved.0 + rx, self.moved.1 + ry),
            },
            ControlMessage::MouseButton { button, pressed } => {
                hold(&mut self.buttons, button, pressed, u32::from(u8::MAX));
                return self.pointer.filter(|_| pressed);
            }
            ControlMessage::MouseWheel { x, y } => {
                self.wheel = (self.wheel.0 + x, self.wheel.1 + y);
            }
            ControlMessage::Key { code, pressed } => self.key(code, pressed),
            ControlMessage::GamepadButton { id, index, pressed } if id < GAMEPADS => {
                let gamepad = self.gamepads.entry(id).or_default();
                hold(&mut gamepad.buttons, index, pressed, GAMEPAD_BUTTONS - 1);
            }
            ControlMessage::GamepadAxes { id, index, value }
                if id < GAMEPADS && index < GAMEPAD_AXES =>
            {
                self.gamepads.entry(id).or_default().axes.insert(index, value);
            }
            ControlMessage::Ime(ref event) => self.ime(event),
            ControlMessage::Position(Position { latitude, longitude }) => {
                self.position = Some((latitude, longitude));
            }
            ControlMessage::Sensor(SensorEvent { sensor, x, y, z }) => {
                self.sensors.insert(sensor, (x, y, z));
            }
            _ => {}
        }
        None
    }

    /// Lets go of everything that is held.
    pub(super) fn release(&mut self) {
        self.fingers.clear();
        self.buttons.clear();
        self.keys.clear();
        self.gamepads.clear();
        self.composing.clear();
    }

    pub(super) fn fingers(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.fingers.values().copied()
    }

    /// Returns what there is to be said: keys, mouse, gamepads, text, sensors and place, in this
    /// order, each empty until it happens.
    pub(super) fn lines(&self) -> [String; 6] {
        [
            self.last_key.clone(),
            self.mouse_line(),
            self.gamepad_line(),
            self.text_line(),
            self.sensor_line(),
            self.position.map_or_else(String::new, |(latitude, longitude)| {
                format!("at {latitude:.4},{longitude:.4}")
            }),
        ]
    }

    fn key(&mut self, code: u32, pressed: bool) {
        let shift = self.keys.contains(&keys::SHIFT);
        hold(&mut self.keys, code, pressed, keys::LAST);
        self.last_key =
            format!("{} {}", keys::name(code), if pressed { "pressed" } else { "released" });
        if !pressed {
            return;
        }
        match code {
            keys::BACKSPACE => drop(self.text.pop()),
            keys::BACK => self.text.clear(),
            _ => self.write(keys::character(code, shift).as_slice()),
        }
    }

    fn ime(&mut self, event: &ImeEvent) {
        let ImeData { text, code, times, name, start, end } = &event.data;
        let written = || text.as_deref().unwrap_or_default();
        match event.kind {
            1 => {
                self.composing.clear();
                self.write(&written().chars().take(MAX_TEXT).collect::<Vec<_>>());
            }
            2 => {
                let times = times.unwrap_or(1).min(MAX_TEXT as u32);
                self.last_key = format!("code {} times {times}", code.unwrap_or_default());
                for _ in 0..times {
                    match *code {
                        Some(ANDROID_DELETE) => drop(self.text.pop()),
                        Some(ANDROID_ENTER) => self.write(&[' ']),
                        _ => {}
                    }
                }
            }
            3 => {
                let name: String = name.iter().flat_map(|name| name.chars()).take(16).collect();
                self.last_key = format!("action {name}");
            }
            4 => self.composing = written().chars().take(MAX_TEXT).collect(),
            5 => {
                let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
                self.last_key = format!("region {start} to {end}");
            }
            _ => {}
        }
    }

    /// Writes, and forgets what was written first.
    fn write(&mut self, characters: &[char]) {
        self.text.extend(characters);
        let excess = self.text.chars().count().saturating_sub(MAX_TEXT);
        self.text = self.text.chars().skip(excess).collect();
    }

    fn mouse_line(&self) -> String {
        let mut line = Vec::new();
        if let Some((x, y)) = self.pointer {
            line.push(format!("mouse {x:.0},{y:.0}"));
        }
        if self.moved != (0.0, 0.0) {
            line.push(format!("moved {:.0},{:.0}", self.moved.0, self.moved.1));
        }
        line.extend(self.buttons.iter().take(3).map(|button| format!("button {button}")));
        if self.wheel != (0.0, 0.0) {
            line.push(format!("wheel {:.0},{:.0}", self.wheel.0, self.wheel.1));
        }
        line.join(" ")
    }

    fn gamepad_line(&self) -> String {
        let pad = |(id, gamepad): (&u32, &Gamepad)| {
            let buttons = gamepad.buttons.iter().map(|button| format!(" b{button}"));
            let axes = gamepad.axes.iter().map(|(axis, value)| format!(" a{axis}={value:.2}"));
            format!("pad {id}{}", buttons.chain(axes).collect::<String>())
        };
        self.gamepads.iter().map(pad).collect::<Vec<_>>().join(" ")
    }

    fn text_line(&self) -> String {
        match (self.text.as_str(), self.composing.as_str()) {
            ("", "") => String::new(),
            (text, "") => format!("> {text}"),
            (text, composing) => format!("> {text}[{composing}]"),
        }
    }

    /// All three sensors must have room in one line.
    fn sensor_line(&self) -> String {
        let one = |(sensor, (x, y, z)): (&Sensor, &(f64, f64, f64))| {
            let name = match sensor {
                Sensor::Acceleration => 'a',
                Sensor::Gyroscope => 'g',
                Sensor::Orientation => 'o',
            };
            format!("{name}{},{},{}", short(*x), short(*y), short(*z))
        };
        self.sensors.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// Writes a number with two digits at most where that is enough: 9.8, 1, -90.
fn short(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    let decimals = usize::from(tenths.abs() < 10.0 && tenths.fract() != 0.0);
    // Adding 0 makes no difference but for a negative zero.
    format!("{:.decimals$}", tenths + 0.0)
}

/// Notes that one of `0..=last` is held, or no longer.
fn hold(held: &mut BTreeSet<u32>, which: u32, pressed: bool, last: u32) {
    if !pressed {
        held.remove(&which);
    } else if which <= last {
        held.insert(which);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: u32) -> [ControlMessage; 2] {
        [true, false].map(|pressed| ControlMessage::Key { code, pressed })
    }

    fn ime(kind: u32, data: ImeData) -> ControlMessage {
        ControlMessage::Ime(ImeEvent { kind, data })
    }

    fn text(text: &str) -> ImeData {
        ImeData { text: Some(text.to_owned()), ..ImeData::default() }
    }

    #[test]
    fn what_is_typed_and_composed_is_read() {
        let mut input = Input::default();
        let shift = |pressed| ControlMessage::Key { code: keys::SHIFT, pressed };
        let typed = [shift(true)].into_iter().chain(key(11)).chain([shift(false)]).chain(key(12));
        for message in typed {
            input.act(&message);
        }
        assert_eq!(input.text_line(), "> Hi");
        input.act(&ime(4, text("kan")));
        assert_eq!(input.text_line(), "> Hi[kan]");
        input.act(&ime(1, text("漢")));
        assert_eq!(input.text_line(), "> Hi漢");
        let delete = ImeData { code: Some(ANDROID_DELETE), times: Some(2), ..ImeData::default() };
        input.act(&ime(2, delete));
        assert_eq!(input.text_line(), "> H");
        for message in key(keys::BACK) {
            input.act(&message);
        }
        assert_eq!(input.text_line(), "");
    }

    #[test]
    fn a_mouse_taps_where_it_was_last() {
        let mut input = Input::default();
        let press = ControlMessage::MouseButton { button: 1, pressed: true };
        assert_eq!(input.act(&press), None, "nobody knows where it is");
        let to = |x, y| ControlMessage::MouseMove { rx: 2.0, ry: 0.0, x, y };
        input.act(&to(Some(50.0), Some(40.0)));
        input.act(&to(None, None));
        assert_eq!(input.act(&press), Some((50.0, 40.0)));
        assert_eq!(input.act(&ControlMessage::MouseButton { button: 1, pressed: false }), None);
        assert_eq!(input.mouse_line(), "mouse 50,40 moved 2,0");
    }

    #[test]
    fn three_sensors_have_room_in_one_line() {
        let mut input = Input::default();
        let turned = [
            (Sensor::Acceleration, (0.04, 9.81, -0.04)),
            (Sensor::Gyroscope, (0.31, 0.0, -1.2)),
            (Sensor::Orientation, (180.0, -90.4, 359.6)),
        ];
        for (sensor, (x, y, z)) in turned {
            input.act(&ControlMessage::Sensor(SensorEvent { sensor, x, y, z }));
        }
        assert_eq!(input.sensor_line(), "a0,9.8,0 g0.3,0,-1.2 o180,-90,360");
    }

    #[test]
    fn ten_fingers_move_apart_and_the_last_one_ends_all() {
        let mut input = Input::default();
        for id in 0..20 {
            input.act(&ControlMessage::TouchStart { id, x: f64::from(id), y: 0.0 });
        }
        assert_eq!(input.fingers().count(), 10);
        input.act(&ControlMessage::TouchMove { id: 3, x: 33.0, y: 1.0 });
        assert!(input.fingers().any(|finger| finger == (33.0, 1.0)));
        input.act(&ControlMessage::TouchEnd { id: 3, last: false });
        assert_eq!(input.fingers().count(), 9);
        input.act(&ControlMessage::TouchEnd { id: 0, last: true });
        assert_eq!(input.fingers().count(), 0);
    }

    #[test]
    fn a_flood_of_everything_keeps_little() {
        let mut input = Input::default();
        for n in 0..10_000 {
            input.act(&ControlMessage::Key { code: n, pressed: true });
            input.act(&ControlMessage::MouseButton { button: n, pressed: true });
            input.act(&ControlMessage::GamepadButton { id: n, index: n, pressed: true });
            input.act(&ControlMessage::GamepadAxes { id: n % 8, index: n, value: 1.0 });
            input.act(&ime(1, text("0123456789")));
        }
        input.act(&ime(1, text(&"x".repeat(100_000))));
        assert!(input.keys.len() <= 93 && input.buttons.len() <= 256);
        assert!(input.gamepads.len() <= 4);
        assert!(input.lines().iter().all(|line| line.len() <= 256), "{:?}", input.lines());
    }
}

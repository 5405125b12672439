//! The device that an instance plays: what clients do to it, what it shows of that, and what it
//! asks of them. It stays when clients come and go.

mod app;
mod input;
mod keys;
mod scene;
mod vehicle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use stream_protocol::Screen;

use crate::control::{ControlMessage, DeviceMessage};
use crate::media::Picture;
use app::App;
pub(crate) use app::Offers;
use input::Input;
use scene::{Layout, Marks};
use vehicle::Vehicle;

/// A device, which its instance and the streams of its clients share.
#[derive(Clone)]
pub(crate) struct SharedDevice(Arc<Mutex<Device>>);

impl SharedDevice {
    pub(crate) fn new(device: Device) -> Self {
        Self(Arc::new(Mutex::new(device)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Device> {
        self.0.lock()
    }
}

pub(crate) struct Device {
    screen: Screen,
    vehicle: Option<Vehicle>,
    app: App,
    input: Input,
    marks: Marks,
    /// What the client's camera shows, and how loud its microphone is, in dB below full scale.
    camera: Option<Picture>,
    level: Option<u8>,
}

impl Device {
    /// Returns a device that nobody has touched yet; an automotive one has a vehicle.
    pub(crate) fn new(screen: Screen, automotive: bool) -> Self {
        Self {
            screen,
            vehicle: automotive.then(Vehicle::default),
            app: App::default(),
            input: Input::default(),
            marks: Marks::default(),
            camera: None,
            level: None,
        }
    }

    pub(crate) fn screen(&self) -> Screen {
        self.screen
    }

    /// Takes the screen that the next client wants.
    pub(crate) fn set_screen(&mut self, screen: Screen) {
        self.screen = screen;
    }

    pub(crate) fn is_automotive(&self) -> bool {
        self.vehicle.is_some()
    }

    /// Begins with a client: whatever the one before held or was asked for is over.
    pub(crate) fn begin(&mut self, offers: Offers) {
        self.app = App::with(offers);
        self.input.release();
        self.camera = None;
        self.level = None;
    }

    /// Acts on what a client says; returns what it is told. Who only views may read the vehicle's
    /// properties, and nothing else has an effect.
    pub(crate) fn act(
        &mut self,
        message: &ControlMessage,
        views: bool,
        now: Instant,
    ) -> Vec<DeviceMessage> {
        match (message, &mut self.vehicle) {
            (ControlMessage::PropertyConfigs, Some(vehicle)) => {
                vec![DeviceMessage::PropertyConfigs(vehicle.configs())]
            }
            (ControlMessage::PropertyGet { prop, area_id }, Some(vehicle)) => {
                vec![DeviceMessage::PropertyGot(vehicle.get(*prop, *area_id))]
            }
            _ if views => Vec::new(),
            (ControlMessage::PropertySet(asked), Some(vehicle)) => {
                vec![DeviceMessage::PropertySet(vehicle.set(asked))]
            }
            _ => match self.input.act(message) {
                Some((x, y)) => self.tap(x, y, now),
                None => Vec::new(),
            },
        }
    }

    /// Shows what the client's camera sees.
    pub(crate) fn set_camera(&mut self, picture: &Picture) {
        let Layout { thumbnail, .. } = self.layout();
        self.camera = Some(picture.scaled(thumbnail.width, thumbnail.height));
    }

    /// Shows how loud the client's microphone is: 0 is full scale, 127 silence (RFC 6464).
    pub(crate) fn set_level(&mut self, below_full: u8) {
        self.level = Some(below_full.min(127));
    }

    /// Draws everything anew: `time_of_day` is what the clock shows, `now` ages the marks, and
    /// `stream` is what is to be said of the stream.
    pub(crate) fn draw(
        &mut self,
        picture: &mut Picture,
        time_of_day: Duration,
        now: Instant,
        stream: &str,
    ) {
        let layout = self.layout();
        scene::draw_background(picture);
        scene::draw_clock(picture, &layout, time_of_day);
        scene::draw_bar(picture, &layout, time_of_day);
        let Screen { width, height, fps, density } = self.screen;
        let about = format!("{width}x{height} {fps} FPS {density} DPI {stream}");
        scene::draw_lines(picture, &layout, &about, &self.input.lines());
        for (n, (name, on)) in self.app.buttons().into_iter().enumerate() {
            scene::draw_button(picture, &layout, n, name, on);
        }
        if let Some(level) = self.level {
            scene::draw_level(picture, &layout, app::MICROPHONE, level);
        }
        if let Some(camera) = &self.camera {
            picture.put(camera, layout.thumbnail.x, layout.thumbnail.y);
        }
        self.marks.draw(picture, now);
        for (x, y) in self.input.fingers() {
            scene::draw_finger(picture, &layout, x, y);
        }
    }

    fn tap(&mut self, x: f64, y: f64, now: Instant) -> Vec<DeviceMessage> {
        let layout = self.layout();
        self.marks.add(&layout, x, y, now);
        match layout.button_at(x, y) {
            Some(button) => self.app.press(button),
            None => Vec::new(),
        }
    }

    fn layout(&self) -> Layout {
        Layout::of(self.screen.width as usize, self.screen.height as usize)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::media::{HEIGHT, WIDTH};

    fn device(automotive: bool) -> Device {
        Device::new(crate::media::SMALL_SCREEN, automotive)
    }

    fn drawn(device: &mut Device, now: Instant) -> Picture {
        let mut picture = Picture::black(WIDTH, HEIGHT);
        device.draw(&mut picture, Duration::ZERO, now, "");
        picture
    }

    fn read(message: serde_json::Value) -> ControlMessage {
        serde_json::from_value(message).expect("a control message")
    }

    #[test]
    fn whatever_a_client_does_can_be_seen() {
        let now = Instant::now();
        for message in [
            json!({"type": "input::key", "data": {"code": 4, "pressed": true}}),
            json!({"type": "input::mouse-move", "data": {"rx": 1, "ry": 1, "x": 9, "y": 9}}),
            json!({"type": "input::mouse-move", "data": {"rx": 1, "ry": 1}}),
            json!({"type": "input::mouse-button", "data": {"button": 1, "pressed": true}}),
            json!({"type": "input::mouse-wheel", "data": {"x": 0, "y": -1}}),
            json!({"type": "input::touch-start", "data": {"id": 9, "x": 100.5, "y": 40}}),
            json!({"type": "input::gamepad-button",
                "data": {"id": 0, "index": 3, "pressed": true}}),
            json!({"type": "input::gamepad-axes", "data": {"id": 1, "index": 0, "value": 0.5}}),
            json!({"type": "input::ime-event", "data": {"type": 1, "data": {"text": "é"}}}),
            json!({"type": "input::ime-event", "data": {"type": 4, "data": {"text": "kan"}}}),
            json!({"type": "location::update-position", "data": {"time": 1, "latitude": 52.5,
                "longitude": 13.4, "altitude": 0, "speed": 0, "bearing": 0, "format": "wgs84"}}),
            json!({"type": "sensor:event",
                "data": {"sensor": "acceleration", "x": 0, "y": 9.81, "z": 0}}),
        ] {
            let mut device = device(false);
            let before = drawn(&mut device, now);
            assert_eq!(before, drawn(&mut device, now), "nothing changes by itself");
            let name = message.to_string();
            device.act(&read(message), false, now);
            assert_ne!(before, drawn(&mut device, now), "{name}");
        }
    }

    #[test]
    fn who_only_views_changes_nothing_but_may_read() {
        let (mut device, now) = (device(true), Instant::now());
        let before = drawn(&mut device, now);
        for message in [
            json!({"type": "input::key", "data": {"code": 4, "pressed": true}}),
            json!({"type": "input::touch-start", "data": {"id": 0, "x": 30, "y": 210}}),
            json!({"type": "vhal::set", "data": {"prop": 287_310_858, "int32_values": [1]}}),
        ] {
            assert_eq!(device.act(&read(message), true, now), []);
        }
        assert_eq!(before, drawn(&mut device, now));
        let asked = read(json!({"type": "vhal::get", "data": {"prop": 287_310_858}}));
        let told = device.act(&asked, true, now);
        let [DeviceMessage::PropertyGot(value)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(value["int32_values"], json!([0]));
    }

    #[test]
    fn what_a_client_sends_of_itself_is_shown_until_it_goes() {
        let (mut device, now) = (device(false), Instant::now());
        let before = drawn(&mut device, now);
        let mut seen = Picture::black(64, 48);
        seen.fill_all(200);
        device.set_camera(&seen);
        let camera = drawn(&mut device, now);
        assert_ne!(before, camera);
        device.set_level(20);
        assert_ne!(camera, drawn(&mut device, now));
        device.begin(Offers::default());
        assert_eq!(before, drawn(&mut device, now));
    }

    #[test]
    fn a_phone_without_a_vehicle_answers_no_question_about_one() {
        let mut device = device(false);
        let asked = read(json!({"type": "vhal::get-all-prop-configs"}));
        assert_eq!(device.act(&asked, false, Instant::now()), []);
    }

    #[test]
    fn every_size_of_screen_can_be_drawn() {
        for (width, height) in [(1, 1), (16, 4000), (720, 1280), (1280, 720), (3840, 2160)] {
            let screen = Screen { width, height, ..crate::media::SMALL_SCREEN };
            let mut device = Device::new(screen, false);
            let tap = json!({"type": "input::touch-start",
                "data": {"id": 0, "x": f64::from(width) / 2.0, "y": f64::from(height) / 2.0}});
            let now = Instant::now();
            device.act(&read(tap), false, now);
            let mut picture = Picture::black(width as usize, height as usize);
            device.draw(&mut picture, Duration::ZERO, now, "");
            assert_ne!(picture, Picture::black(width as usize, height as usize));
        }
    }
}

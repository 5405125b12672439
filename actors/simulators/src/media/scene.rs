//! What the instance shows: the time of day, something that moves, and where it was tapped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::picture::{Area, Colour, MAGENTA, Picture, even};
use super::{HEIGHT, WIDTH};
use crate::signaling::ControlMessage;

/// How long a mark stays.
const MARK_STAYS: Duration = Duration::from_secs(3);

/// Edge of a mark, in pixels.
const MARK_SIZE: usize = 32;

/// More taps than anybody makes in [`MARK_STAYS`]; the oldest go first.
const MAX_MARKS: usize = 32;

const BACKGROUND: Colour = Colour { y: 40, u: 140, v: 122 };
const DIGIT: Colour = Colour { y: 225, u: 128, v: 128 };
const BAR: Colour = Colour { y: 145, u: 70, v: 60 };

/// Size of a digit, the thickness of its strokes and the gap after it, in pixels.
const DIGIT_WIDTH: usize = 44;
const DIGIT_HEIGHT: usize = 84;
const STROKE: usize = 10;
const GAP: usize = 14;

/// Width of a colon or point with the gap after it.
const SEPARATOR: usize = 28;

const CLOCK_TOP: usize = 96;
const CLOCK_LEFT: usize = even((WIDTH - 8 * (DIGIT_WIDTH + GAP) - 3 * SEPARATOR) / 2);

/// The segments of each digit: top, upper left, upper right, middle, lower left, lower right,
/// bottom.
const SEGMENTS: [[u8; 7]; 10] = [
    [1, 1, 1, 0, 1, 1, 1],
    [0, 0, 1, 0, 0, 1, 0],
    [1, 0, 1, 1, 1, 0, 1],
    [1, 0, 1, 1, 0, 1, 1],
    [0, 1, 1, 1, 0, 1, 0],
    [1, 1, 0, 1, 0, 1, 1],
    [1, 1, 0, 1, 1, 1, 1],
    [1, 0, 1, 0, 0, 1, 0],
    [1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 0, 1, 1],
];

/// The places that were tapped lately.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    marks: VecDeque<Mark>,
    /// Where the mouse is: its buttons do not say.
    pointer: Option<(f64, f64)>,
}

#[derive(Debug)]
struct Mark {
    area: Area,
    since: Instant,
}

impl Scene {
    /// Acts on what the client did: a touch and a pressed mouse button are taps.
    pub(crate) fn act(&mut self, input: &ControlMessage, now: Instant) {
        match *input {
            ControlMessage::TouchStart { x, y, .. } => self.tap(x, y, now),
            ControlMessage::MouseMove { x, y } => self.pointer = x.zip(y).or(self.pointer),
            ControlMessage::MouseButton { pressed: true } => {
                if let Some((x, y)) = self.pointer {
                    self.tap(x, y, now);
                }
            }
            _ => {}
        }
    }

    /// Marks a tap at (`x`, `y`), in pixels of the stream; one outside of it leaves no mark.
    fn tap(&mut self, x: f64, y: f64, now: Instant) {
        if !(0.0..WIDTH as f64).contains(&x) || !(0.0..HEIGHT as f64).contains(&y) {
            return;
        }
        if self.marks.len() == MAX_MARKS {
            self.marks.pop_front();
        }
        let corner = |at: f64| even((at as usize).saturating_sub(MARK_SIZE / 2));
        let area = Area { x: corner(x), y: corner(y), width: MARK_SIZE, height: MARK_SIZE };
        self.marks.push_back(Mark { area, since: now });
    }

    /// Draws everything anew: `time_of_day` is what the clock shows, `now` ages the marks.
    pub(crate) fn draw(&mut self, picture: &mut Picture, time_of_day: Duration, now: Instant) {
        picture.fill(Area { x: 0, y: 0, width: WIDTH, height: HEIGHT }, BACKGROUND);
        draw_clock(picture, time_of_day);
        draw_bar(picture, time_of_day);
        self.marks.retain(|mark| now.saturating_duration_since(mark.since) < MARK_STAYS);
        for mark in &self.marks {
            picture.fill(mark.area, MAGENTA);
        }
    }
}

/// A bar that crosses the picture every four seconds.
fn draw_bar(picture: &mut Picture, time_of_day: Duration) {
    const LENGTH: usize = 80;
    let phase = (time_of_day.as_millis() % 4000) as usize;
    let x = even(phase * (WIDTH - LENGTH) / 4000);
    picture.fill(Area { x, y: 260, width: LENGTH, height: 32 }, BAR);
}

fn draw_clock(picture: &mut Picture, time_of_day: Duration) {
    let seconds = time_of_day.as_secs();
    let hundredths = u64::from(time_of_day.subsec_millis() / 10);
    let parts = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, hundredths];
    let mut x = CLOCK_LEFT;
    for (n, part) in parts.into_iter().enumerate() {
        for digit in [part / 10, part % 10] {
            draw_digit(picture, x, digit as usize);
            x += DIGIT_WIDTH + GAP;
        }
        if n < 3 {
            draw_separator(picture, x, n == 2);
            x += SEPARATOR;
        }
    }
}

fn draw_digit(picture: &mut Picture, x: usize, digit: usize) {
    let (right, middle) = (x + DIGIT_WIDTH - STROKE, even((DIGIT_HEIGHT - STROKE) / 2));
    let across = |y| Area { x, y: CLOCK_TOP + y, width: DIGIT_WIDTH, height: STROKE };
    let down = |x, y| Area { x, y: CLOCK_TOP + y, width: STROKE, height: DIGIT_HEIGHT - middle };
    let areas = [
        across(0),
        down(x, 0),
        down(right, 0),
        across(middle),
        down(x, middle),
        down(right, middle),
        across(DIGIT_HEIGHT - STROKE),
    ];
    for (area, lit) in areas.into_iter().zip(SEGMENTS[digit]) {
        if lit == 1 {
            picture.fill(area, DIGIT);
        }
    }
}

fn draw_separator(picture: &mut Picture, x: usize, point: bool) {
    let dot = |y| Area { x, y: CLOCK_TOP + y, width: STROKE, height: STROKE };
    if !point {
        picture.fill(dot(DIGIT_HEIGHT / 4), DIGIT);
        picture.fill(dot(DIGIT_HEIGHT / 4 + 32), DIGIT);
    } else {
        picture.fill(dot(DIGIT_HEIGHT - STROKE), DIGIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(scene: &mut Scene, time_of_day: Duration, now: Instant) -> Picture {
        let mut picture = Picture::black(WIDTH, HEIGHT);
        scene.draw(&mut picture, time_of_day, now);
        picture
    }

    #[test]
    fn the_picture_changes_with_the_clock_and_only_with_it() {
        let (mut scene, now) = (Scene::default(), Instant::now());
        let time = Duration::from_millis(45_296_780);
        let first = drawn(&mut scene, time, now);
        assert_eq!(first, drawn(&mut scene, time, now));
        assert_ne!(first, drawn(&mut scene, time + Duration::from_millis(10), now));
        assert_ne!(first, drawn(&mut scene, time + Duration::from_secs(4), now), "same bar");
    }

    #[test]
    fn every_digit_looks_different() {
        for (n, one) in SEGMENTS.iter().enumerate() {
            assert!(!SEGMENTS[n + 1..].contains(one), "{n} looks like another digit");
        }
    }

    #[test]
    fn a_tap_is_marked_for_three_seconds() {
        let (mut scene, now) = (Scene::default(), Instant::now());
        let noon = Duration::from_secs(12 * 3600);
        scene.tap(120.7, 310.0, now);
        let before = now + MARK_STAYS - Duration::from_millis(1);
        assert!(drawn(&mut scene, noon, before).is_marked(120, 310));
        assert!(!drawn(&mut scene, noon, now + MARK_STAYS).is_marked(120, 310));
    }

    #[test]
    fn a_mouse_taps_where_it_was_last() {
        let (mut scene, now) = (Scene::default(), Instant::now());
        scene.act(&ControlMessage::MouseButton { pressed: true }, now);
        assert!(scene.marks.is_empty(), "nobody knows where it is");
        scene.act(&ControlMessage::MouseMove { x: Some(50.0), y: Some(40.0) }, now);
        scene.act(&ControlMessage::MouseMove { x: None, y: None }, now);
        scene.act(&ControlMessage::MouseButton { pressed: true }, now);
        scene.act(&ControlMessage::MouseButton { pressed: false }, now);
        assert_eq!(scene.marks.len(), 1);
        assert!(drawn(&mut scene, Duration::ZERO, now).is_marked(50, 40));
    }

    #[test]
    fn a_tap_outside_of_the_picture_leaves_no_mark() {
        let (mut scene, now) = (Scene::default(), Instant::now());
        for (x, y) in
            [(-1.0, 5.0), (640.0, 5.0), (5.0, 360.0), (f64::NAN, 5.0), (5.0, f64::INFINITY)]
        {
            scene.tap(x, y, now);
        }
        assert!(scene.marks.is_empty());
    }

    #[test]
    fn nothing_but_a_mark_looks_like_one() {
        let picture = drawn(&mut Scene::default(), Duration::from_secs(8 * 3600), Instant::now());
        for y in (0..HEIGHT).step_by(8) {
            for x in (0..WIDTH).step_by(8) {
                assert!(!picture.is_marked(x, y), "({x}, {y}) looks like a mark");
            }
        }
    }

    #[test]
    fn a_flood_of_taps_keeps_the_latest() {
        let (mut scene, now) = (Scene::default(), Instant::now());
        for _ in 0..10 * MAX_MARKS {
            scene.tap(20.0, 20.0, now);
        }
        scene.tap(600.0, 20.0, now);
        assert_eq!(scene.marks.len(), MAX_MARKS);
        assert!(drawn(&mut scene, Duration::ZERO, now).is_marked(600, 20));
    }
}

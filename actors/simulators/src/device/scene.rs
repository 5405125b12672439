//! What the device shows, drawn on a picture of any size: the time of day, something that moves,
//! lines of text, buttons, and where it is touched.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::{Area, Colour, MAGENTA, Picture, even};

/// How long a mark stays.
const MARK_STAYS: Duration = Duration::from_secs(3);

/// More taps than anybody makes in [`MARK_STAYS`]; the oldest go first.
const MAX_MARKS: usize = 32;

const BACKGROUND: Colour = Colour { y: 40, u: 140, v: 122 };
const LIGHT: Colour = Colour { y: 225, u: 128, v: 128 };
const BAR: Colour = Colour { y: 145, u: 70, v: 60 };
const BUTTON: Colour = Colour { y: 70, u: 134, v: 125 };
const FINGER: Colour = Colour { y: 170, u: 166, v: 16 };

/// The picture is laid out on a sheet of so many units, which keeps its shape: what is left of a
/// picture of another shape is background.
const SHEET: (usize, usize) = (640, 360);

/// Size of a digit, the thickness of its strokes and the gap after it, in units.
const DIGIT: (usize, usize) = (44, 84);
const STROKE: usize = 10;
const GAP: usize = 14;

/// Width of a colon or point with the gap after it.
const SEPARATOR: usize = 28;

const CLOCK_TOP: usize = 96;
const CLOCK_LEFT: usize = (SHEET.0 - 8 * (DIGIT.0 + GAP) - 3 * SEPARATOR) / 2;

/// The tops of the lines of text: four above the clock, three at the bottom.
const LINES: [usize; 7] = [8, 28, 48, 68, 304, 324, 342];
const LINE_LEFT: usize = 8;

/// Edge of a letter.
const LETTER: usize = 16;

const BUTTONS: usize = 4;
const BUTTON_TOP: usize = 204;
const BUTTON_SIZE: (usize, usize) = (140, 36);
const BUTTON_GAP: usize = 12;

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

/// Where things are in a picture of one size.
pub(super) struct Layout {
    width: usize,
    height: usize,
    /// Pixels of a unit.
    scale: f64,
    /// Where the client's camera is shown.
    pub(super) thumbnail: Area,
}

impl Layout {
    pub(super) fn of(width: usize, height: usize) -> Self {
        let scale = (width as f64 / SHEET.0 as f64).min(height as f64 / SHEET.1 as f64);
        let bare = Self { width, height, scale, thumbnail: Area::default() };
        Self { thumbnail: bare.area(520, 296, 112, 60), ..bare }
    }

    /// Returns the button at (`x`, `y`), in pixels.
    pub(super) fn button_at(&self, x: f64, y: f64) -> Option<usize> {
        (0..BUTTONS).find(|n| self.button(*n).holds(x, y))
    }

    fn button(&self, n: usize) -> Area {
        let (width, height) = BUTTON_SIZE;
        let left = (SHEET.0 - BUTTONS * width - (BUTTONS - 1) * BUTTON_GAP) / 2;
        self.area(left + n * (width + BUTTON_GAP), BUTTON_TOP, width, height)
    }

    fn area(&self, x: usize, y: usize, width: usize, height: usize) -> Area {
        let at = |n| self.pixels(n);
        let size = |n| self.pixels(n).max(2);
        Area { x: at(x), y: at(y), width: size(width), height: size(height) }
    }

    /// Pixels of `units`, an even number: chroma has half the resolution.
    fn pixels(&self, units: usize) -> usize {
        even((units as f64 * self.scale).round() as usize)
    }
}

/// The places that were tapped lately.
#[derive(Default)]
pub(super) struct Marks(VecDeque<Mark>);

struct Mark {
    area: Area,
    since: Instant,
}

impl Marks {
    /// Marks a tap at (`x`, `y`), in pixels of the stream; one outside of it leaves no mark.
    pub(super) fn add(&mut self, layout: &Layout, x: f64, y: f64, now: Instant) {
        if !(0.0..layout.width as f64).contains(&x) || !(0.0..layout.height as f64).contains(&y) {
            return;
        }
        if self.0.len() == MAX_MARKS {
            self.0.pop_front();
        }
        let size = layout.pixels(32).max(32);
        let area = square_around(x, y, size);
        self.0.push_back(Mark { area, since: now });
    }

    pub(super) fn draw(&mut self, picture: &mut Picture, now: Instant) {
        self.0.retain(|mark| now.saturating_duration_since(mark.since) < MARK_STAYS);
        for mark in &self.0 {
            picture.fill(mark.area, MAGENTA);
        }
    }
}

pub(super) fn draw_background(picture: &mut Picture) {
    let (width, height) = (picture.width(), picture.height());
    picture.fill(Area { x: 0, y: 0, width, height }, BACKGROUND);
}

/// A bar that crosses the picture every four seconds.
pub(super) fn draw_bar(picture: &mut Picture, layout: &Layout, time_of_day: Duration) {
    const LENGTH: usize = 80;
    let phase = (time_of_day.as_millis() % 4000) as usize;
    let length = layout.pixels(LENGTH);
    let x = even(phase * (layout.pixels(SHEET.0) - length) / 4000);
    picture.fill(Area { x, ..layout.area(0, 260, LENGTH, 32) }, BAR);
}

pub(super) fn draw_clock(picture: &mut Picture, layout: &Layout, time_of_day: Duration) {
    let seconds = time_of_day.as_secs();
    let hundredths = u64::from(time_of_day.subsec_millis() / 10);
    let parts = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, hundredths];
    let mut x = CLOCK_LEFT;
    for (n, part) in parts.into_iter().enumerate() {
        for digit in [part / 10, part % 10] {
            draw_digit(picture, layout, x, digit as usize);
            x += DIGIT.0 + GAP;
        }
        if n < 3 {
            draw_separator(picture, layout, x, n == 2);
            x += SEPARATOR;
        }
    }
}

fn draw_digit(picture: &mut Picture, layout: &Layout, x: usize, digit: usize) {
    let (right, middle) = (x + DIGIT.0 - STROKE, even((DIGIT.1 - STROKE) / 2));
    let across = |y| layout.area(x, CLOCK_TOP + y, DIGIT.0, STROKE);
    let down = |x, y| layout.area(x, CLOCK_TOP + y, STROKE, DIGIT.1 - middle);
    let areas = [
        across(0),
        down(x, 0),
        down(right, 0),
        across(middle),
        down(x, middle),
        down(right, middle),
        across(DIGIT.1 - STROKE),
    ];
    for (area, lit) in areas.into_iter().zip(SEGMENTS[digit]) {
        if lit == 1 {
            picture.fill(area, LIGHT);
        }
    }
}

fn draw_separator(picture: &mut Picture, layout: &Layout, x: usize, point: bool) {
    let mut dot = |y| picture.fill(layout.area(x, CLOCK_TOP + y, STROKE, STROKE), LIGHT);
    if !point {
        dot(DIGIT.1 / 4);
        dot(DIGIT.1 / 4 + 32);
    } else {
        dot(DIGIT.1 - STROKE);
    }
}

/// Writes `about`, and below it what else there is to be said.
pub(super) fn draw_lines(picture: &mut Picture, layout: &Layout, about: &str, lines: &[String; 6]) {
    let all = std::iter::once(about).chain(lines.iter().map(String::as_str));
    for (top, line) in LINES.into_iter().zip(all) {
        // The lower ones end where the client's camera is shown.
        let room = if top > CLOCK_TOP { 31 } else { 39 };
        let text: String = line.chars().take(room).collect();
        draw_text(picture, layout, LINE_LEFT, top, &text);
    }
}

pub(super) fn draw_button(picture: &mut Picture, layout: &Layout, n: usize, name: &str, on: bool) {
    let button = layout.button(n);
    picture.fill(button, if on { BAR } else { BUTTON });
    let (width, height) = BUTTON_SIZE;
    let left = (SHEET.0 - BUTTONS * width - (BUTTONS - 1) * BUTTON_GAP) / 2;
    let x = left + n * (width + BUTTON_GAP) + (width.saturating_sub(name.len() * LETTER)) / 2;
    draw_text(picture, layout, x, BUTTON_TOP + (height - LETTER) / 2, name);
}

/// Draws how loud the microphone is along the lower edge of its button, `n`.
pub(super) fn draw_level(picture: &mut Picture, layout: &Layout, n: usize, below_full: u8) {
    let Area { x, y, width, height } = layout.button(n);
    let length = width * usize::from(127 - below_full.min(127)) / 127;
    let thickness = layout.pixels(6).max(2);
    picture.fill(Area { x, y: y + height, width: even(length), height: thickness }, LIGHT);
}

/// Draws a frame around a finger, which leaves the mark of its tap to be seen.
pub(super) fn draw_finger(picture: &mut Picture, layout: &Layout, x: f64, y: f64) {
    let Area { x, y, width, .. } = square_around(x, y, layout.pixels(48).max(48));
    let edge = layout.pixels(4).max(4);
    for area in [
        Area { x, y, width, height: edge },
        Area { x, y: y + width - edge, width, height: edge },
        Area { x, y, width: edge, height: width },
        Area { x: x + width - edge, y, width: edge, height: width },
    ] {
        picture.fill(area, FINGER);
    }
}

/// Returns an area of `size` around (`x`, `y`); a place outside of every picture is one in it.
fn square_around(x: f64, y: f64, size: usize) -> Area {
    let corner = |at: f64| even((at as usize).saturating_sub(size / 2));
    Area { x: corner(x), y: corner(y), width: size, height: size }
}

/// Writes `text` at (`x`, `y`), in units. Of a picture that is too small to be read, nothing.
fn draw_text(picture: &mut Picture, layout: &Layout, x: usize, y: usize, text: &str) {
    let dot = (LETTER as f64 * layout.scale / 8.0) as usize;
    if dot == 0 {
        return;
    }
    for (n, character) in text.chars().enumerate() {
        let left = layout.pixels(x + n * LETTER);
        for (row, bits) in letter(character).into_iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let area = Area {
                    x: left + column * dot,
                    y: layout.pixels(y) + row * dot,
                    width: dot,
                    height: dot,
                };
                picture.fill_luma(area, LIGHT.y);
            }
        }
    }
}

/// The rows of a letter from the top; the lowest bit is the left-most dot. What the font does not
/// have is a box.
fn letter(character: char) -> [u8; 8] {
    use font8x8::UnicodeFonts;
    let found = font8x8::BASIC_FONTS.get(character).or_else(|| font8x8::LATIN_FONTS.get(character));
    found.unwrap_or([0xff, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0xff])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{HEIGHT, WIDTH};

    fn layout() -> Layout {
        Layout::of(WIDTH, HEIGHT)
    }

    fn drawn(marks: &mut Marks, time_of_day: Duration, now: Instant) -> Picture {
        let mut picture = Picture::black(WIDTH, HEIGHT);
        draw_background(&mut picture);
        draw_clock(&mut picture, &layout(), time_of_day);
        draw_bar(&mut picture, &layout(), time_of_day);
        let line = "ABC xyz 0123".to_owned();
        draw_lines(&mut picture, &layout(), &line, &std::array::from_fn(|_| line.clone()));
        for n in 0..BUTTONS {
            draw_button(&mut picture, &layout(), n, "CAMERA", n % 2 == 0);
        }
        marks.draw(&mut picture, now);
        picture
    }

    #[test]
    fn the_picture_changes_with_the_clock_and_only_with_it() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let time = Duration::from_millis(45_296_780);
        let first = drawn(&mut marks, time, now);
        assert_eq!(first, drawn(&mut marks, time, now));
        assert_ne!(first, drawn(&mut marks, time + Duration::from_millis(10), now));
        assert_ne!(first, drawn(&mut marks, time + Duration::from_secs(4), now), "same bar");
    }

    #[test]
    fn every_digit_looks_different() {
        for (n, one) in SEGMENTS.iter().enumerate() {
            assert!(!SEGMENTS[n + 1..].contains(one), "{n} looks like another digit");
        }
    }

    #[test]
    fn a_tap_is_marked_for_three_seconds() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let noon = Duration::from_secs(12 * 3600);
        marks.add(&layout(), 120.7, 310.0, now);
        let before = now + MARK_STAYS - Duration::from_millis(1);
        assert!(drawn(&mut marks, noon, before).is_marked(120, 310));
        assert!(!drawn(&mut marks, noon, now + MARK_STAYS).is_marked(120, 310));
    }

    #[test]
    fn a_tap_outside_of_the_picture_leaves_no_mark() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        for (x, y) in
            [(-1.0, 5.0), (640.0, 5.0), (5.0, 360.0), (f64::NAN, 5.0), (5.0, f64::INFINITY)]
        {
            marks.add(&layout(), x, y, now);
        }
        assert!(marks.0.is_empty());
    }

    #[test]
    fn nothing_but_a_mark_looks_like_one() {
        let mut picture =
            drawn(&mut Marks::default(), Duration::from_secs(8 * 3600), Instant::now());
        draw_finger(&mut picture, &layout(), 300.0, 150.0);
        for y in (0..HEIGHT).step_by(8) {
            for x in (0..WIDTH).step_by(8) {
                assert!(!picture.is_marked(x, y), "({x}, {y}) looks like a mark");
            }
        }
    }

    #[test]
    fn a_flood_of_taps_keeps_the_latest() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        for _ in 0..10 * MAX_MARKS {
            marks.add(&layout(), 20.0, 20.0, now);
        }
        marks.add(&layout(), 600.0, 20.0, now);
        assert_eq!(marks.0.len(), MAX_MARKS);
        assert!(drawn(&mut marks, Duration::ZERO, now).is_marked(600, 20));
    }

    #[test]
    fn buttons_are_where_they_are_drawn_at_every_scale() {
        for (width, height) in [(640, 360), (1280, 720), (720, 1280)] {
            let layout = Layout::of(width, height);
            for n in 0..BUTTONS {
                let Area { x, y, width, height } = layout.button(n);
                let middle = ((x + width / 2) as f64, (y + height / 2) as f64);
                assert_eq!(layout.button_at(middle.0, middle.1), Some(n));
            }
            assert_eq!(layout.button_at(0.0, 0.0), None);
        }
    }
}

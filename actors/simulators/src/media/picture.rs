use std::hash::{DefaultHasher, Hasher};

use openh264::formats::YUVSource;

/// A colour as video has it: BT.601, limited range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colour {
    pub(crate) y: u8,
    pub(crate) u: u8,
    pub(crate) v: u8,
}

/// Where a tap was; used for nothing else, so that it is recognised after coding.
pub(crate) const MAGENTA: Colour = Colour { y: 106, u: 202, v: 222 };

/// How far from [`MAGENTA`] a decoded mark may be, in each component.
const TOLERANCE: u32 = 24;

/// A rectangle in pixels. Chroma has half the resolution: keep all four numbers even.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Area {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// A picture in I420: full luma, chroma at half the resolution.
#[derive(Clone, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Picture {
    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns a number that differs when the brightness of any pixel differs.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.y);
        hasher.finish()
    }

    /// Whether the picture shows the mark of a tap at (`x`, `y`), in pixels.
    pub fn is_marked(&self, x: usize, y: usize) -> bool {
        const REACH: usize = 8;
        let area = Area {
            x: even(x.saturating_sub(REACH)),
            y: even(y.saturating_sub(REACH)),
            width: 2 * REACH,
            height: 2 * REACH,
        };
        let Some(seen) = self.average(area) else { return false };
        let near = |a: u8, b: u8| u32::from(a.abs_diff(b)) <= TOLERANCE;
        near(seen.y, MAGENTA.y) && near(seen.u, MAGENTA.u) && near(seen.v, MAGENTA.v)
    }

    /// Returns a black picture. Sizes are rounded up to even ones.
    pub(crate) fn black(width: usize, height: usize) -> Self {
        let (width, height) = (width + width % 2, height + height % 2);
        let chroma = width / 2 * (height / 2);
        Self {
            width,
            height,
            y: vec![16; width * height],
            u: vec![128; chroma],
            v: vec![128; chroma],
        }
    }

    /// Copies a picture out of a decoder's buffers, whose rows may be longer than the picture.
    pub(crate) fn copied(source: &impl YUVSource) -> Self {
        let (width, height) = source.dimensions();
        let (y_stride, u_stride, v_stride) = source.strides();
        let mut picture = Self::black(width, height);
        copy_rows(&mut picture.y, picture.width, source.y(), y_stride, width);
        copy_rows(&mut picture.u, picture.width / 2, source.u(), u_stride, width / 2);
        copy_rows(&mut picture.v, picture.width / 2, source.v(), v_stride, width / 2);
        picture
    }

    /// Paints `area`, as far as it is inside the picture.
    pub(crate) fn fill(&mut self, area: Area, colour: Colour) {
        let Some(area) = self.clip(area) else { return };
        fill_rows(&mut self.y, self.width, area, colour.y);
        let half = area.halved();
        fill_rows(&mut self.u, self.width / 2, half, colour.u);
        fill_rows(&mut self.v, self.width / 2, half, colour.v);
    }

    /// Sets the brightness of `area` alone, as far as it is inside the picture.
    pub(crate) fn fill_luma(&mut self, area: Area, y: u8) {
        if let Some(area) = self.clip(area) {
            fill_rows(&mut self.y, self.width, area, y);
        }
    }

    /// Returns the picture at another size, by the nearest pixels.
    pub(crate) fn scaled(&self, width: usize, height: usize) -> Self {
        let mut scaled = Self::black(width, height);
        let (width, height) = (scaled.width, scaled.height);
        scale_rows(&mut scaled.y, (width, height), &self.y, (self.width, self.height));
        let half = |(width, height)| (width / 2, height / 2);
        let (to, from) = (half((width, height)), half((self.width, self.height)));
        scale_rows(&mut scaled.u, to, &self.u, from);
        scale_rows(&mut scaled.v, to, &self.v, from);
        scaled
    }

    /// Copies `other` to (`x`, `y`), both even, as far as there is room.
    pub(crate) fn put(&mut self, other: &Self, x: usize, y: usize) {
        let Some(area) = self.clip(Area { x, y, width: other.width, height: other.height }) else {
            return;
        };
        put_rows(&mut self.y, self.width, area, &other.y, other.width);
        let half = area.halved();
        put_rows(&mut self.u, self.width / 2, half, &other.u, other.width / 2);
        put_rows(&mut self.v, self.width / 2, half, &other.v, other.width / 2);
    }

    /// Returns a picture from its three planes, one after the other: I420 as it is piped.
    pub(crate) fn from_planes(width: usize, height: usize, planes: &[u8]) -> Option<Self> {
        let mut picture = Self::black(width, height);
        let (luma, chroma) = (picture.y.len(), picture.u.len());
        if (picture.width, picture.height) != (width, height) || planes.len() != luma + 2 * chroma {
            return None;
        }
        picture.y.copy_from_slice(&planes[..luma]);
        picture.u.copy_from_slice(&planes[luma..luma + chroma]);
        picture.v.copy_from_slice(&planes[luma + chroma..]);
        Some(picture)
    }

    /// The three planes, one after the other.
    pub(crate) fn planes(&self) -> [&[u8]; 3] {
        [&self.y, &self.u, &self.v]
    }

    #[cfg(test)]
    pub(crate) fn fill_all(&mut self, y: u8) {
        self.y.fill(y);
    }

    fn average(&self, area: Area) -> Option<Colour> {
        let area = self.clip(area)?;
        let half = area.halved();
        Some(Colour {
            y: average_rows(&self.y, self.width, area)?,
            u: average_rows(&self.u, self.width / 2, half)?,
            v: average_rows(&self.v, self.width / 2, half)?,
        })
    }

    fn clip(&self, area: Area) -> Option<Area> {
        if area.x >= self.width || area.y >= self.height {
            return None;
        }
        Some(Area {
            width: area.width.min(self.width - area.x),
            height: area.height.min(self.height - area.y),
            ..area
        })
    }
}

/// Rounds down to an even number: where chroma begins.
pub(crate) const fn even(n: usize) -> usize {
    n & !1
}

impl Area {
    pub(crate) fn holds(self, x: f64, y: f64) -> bool {
        let within = |at: f64, from: usize, length: usize| {
            (from as f64..(from + length) as f64).contains(&at)
        };
        within(x, self.x, self.width) && within(y, self.y, self.height)
    }

    fn halved(self) -> Self {
        let Self { x, y, width, height } = self;
        Self { x: x / 2, y: y / 2, width: width / 2, height: height / 2 }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{}, {:016x})", self.width, self.height, self.digest())
    }
}

impl YUVSource for Picture {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.u
    }

    fn v(&self) -> &[u8] {
        &self.v
    }
}

// Whole rows at a time: single pixels are too slow where this is built without optimisation.

fn copy_rows(to: &mut [u8], to_stride: usize, from: &[u8], from_stride: usize, width: usize) {
    for (to, from) in to.chunks_exact_mut(to_stride).zip(from.chunks_exact(from_stride)) {
        to[..width].copy_from_slice(&from[..width]);
    }
}

fn fill_rows(plane: &mut [u8], stride: usize, area: Area, value: u8) {
    for row in plane.chunks_exact_mut(stride).skip(area.y).take(area.height) {
        row[area.x..area.x + area.width].fill(value);
    }
}

fn put_rows(plane: &mut [u8], stride: usize, area: Area, from: &[u8], from_stride: usize) {
    let rows = plane.chunks_exact_mut(stride).skip(area.y).take(area.height);
    for (to, from) in rows.zip(from.chunks_exact(from_stride)) {
        to[area.x..area.x + area.width].copy_from_slice(&from[..area.width]);
    }
}

fn scale_rows(to: &mut [u8], size: (usize, usize), from: &[u8], from_size: (usize, usize)) {
    let ((width, height), (from_width, from_height)) = (size, from_size);
    for (y, row) in to.chunks_exact_mut(width).enumerate() {
        let source = &from[y * from_height / height * from_width..][..from_width];
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = source[x * from_width / width];
        }
    }
}

fn average_rows(plane: &[u8], stride: usize, area: Area) -> Option<u8> {
    let rows = plane.chunks_exact(stride).skip(area.y).take(area.height);
    let sum: u64 =
        rows.flat_map(|row| &row[area.x..area.x + area.width]).map(|&p| u64::from(p)).sum();
    let average = sum.checked_div((area.width * area.height) as u64)?;
    u8::try_from(average).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_where_it_is_and_nowhere_else() {
        let mut picture = Picture::black(64, 48);
        picture.fill(Area { x: 8, y: 8, width: 32, height: 32 }, MAGENTA);
        assert!(picture.is_marked(24, 24));
        assert!(!picture.is_marked(50, 24));
        assert!(!picture.is_marked(1000, 1000), "outside the picture");
    }

    #[test]
    fn painting_over_the_edge_keeps_inside() {
        let mut picture = Picture::black(32, 32);
        picture.fill(Area { x: 20, y: 20, width: 32, height: 32 }, MAGENTA);
        picture.fill(Area { x: 64, y: 0, width: 2, height: 2 }, MAGENTA);
        assert!(picture.is_marked(31, 31));
        assert!(!picture.is_marked(8, 8));
    }

    #[test]
    fn a_picture_is_scaled_put_and_taken_apart() {
        let mut small = Picture::black(4, 2);
        small.y = vec![10, 10, 20, 20, 30, 30, 40, 40];
        let large = small.scaled(8, 4);
        assert_eq!(large.y[..8], [10, 10, 10, 10, 20, 20, 20, 20]);
        assert_eq!(large.y[24..], [30, 30, 30, 30, 40, 40, 40, 40]);
        assert_eq!(large.scaled(4, 2), small);
        let mut sheet = Picture::black(8, 4);
        sheet.put(&small, 6, 2);
        assert_eq!(sheet.y[2 * 8 + 6..2 * 8 + 8], [10, 10], "cut at the edge");
        assert_eq!(Picture::from_planes(4, 2, &small.planes().concat()), Some(small));
        assert_eq!(Picture::from_planes(4, 2, &[0; 11]), None);
        assert_eq!(Picture::from_planes(3, 2, &[0; 12]), None, "rounded up to 4");
    }

    #[test]
    fn one_changed_pixel_changes_the_digest() {
        let mut picture = Picture::black(32, 32);
        let before = picture.digest();
        picture.y[77] += 1;
        assert_ne!(picture.digest(), before);
    }

    #[test]
    fn a_copy_leaves_the_padding_of_the_rows_behind() {
        let mut source = Picture::black(4, 2);
        source.y = vec![1, 2, 3, 4, 5, 6, 7, 8];
        let mut padded = Vec::new();
        for row in source.y.chunks(4) {
            padded.extend_from_slice(row);
            padded.extend_from_slice(&[99, 99]);
        }
        let mut to = vec![0; 8];
        copy_rows(&mut to, 4, &padded, 6, 4);
        assert_eq!(to, source.y);
        assert_eq!(Picture::copied(&source), source);
    }
}

// From a place of the window to a pixel of the stream. Pure. `turns` are quarter turns clockwise by
// which the picture is shown.

/**
 * Returns the pixel of `picture` shown at a place of the window, the picture being fitted into
 * `box` whole and centred; `inside` is false when the nearest pixel had to do. Returns undefined
 * while there is no picture.
 */
export function streamPixels(clientX, clientY, box, picture, turns = 0) {
  const shown = turned(picture, turns);
  const scale = fit(box, shown);
  if (!scale) return undefined;
  const u = (clientX - box.left - (box.width - shown.width * scale) / 2) / scale;
  const v = (clientY - box.top - (box.height - shown.height * scale) / 2) / scale;
  const { width, height } = picture;
  const [x, y] = [[u, v], [v, height - u], [width - u, height - v], [width - v, u]][turns];
  const inside = x >= 0 && y >= 0 && x < width && y < height;
  return { x: clamp(x, width - 1), y: clamp(y, height - 1), inside };
}

/** Returns how far a movement of the window's pixels goes in the stream. */
export function streamMovement(dx, dy, box, picture, turns = 0) {
  const scale = fit(box, turned(picture, turns));
  if (!scale) return undefined;
  const [x, y] = [[dx, dy], [dy, -dx], [-dx, -dy], [-dy, dx]][turns];
  return { x: x / scale, y: y / scale };
}

/** Returns the size of a picture that is shown turned. */
export function turned({ width, height }, turns) {
  return turns % 2 ? { width: height, height: width } : { width, height };
}

/**
 * Returns what an accelerometer of the device says when it is held turned by so many quarter turns:
 * the axis that points up has gravity's 9.81 m/s².
 */
export function gravity(turns) {
  const [x, y] = [[0, 9.81], [-9.81, 0], [0, -9.81], [9.81, 0]][turns];
  return { x, y, z: 0 };
}

/**
 * Returns the size of a screen that fills `box` at `ratio` device pixels each: even, and no more
 * pixels than an encoder likes.
 */
export function screenFor(box, ratio) {
  const most = 1920;
  const scale = Math.min(ratio, most / Math.max(box.width, box.height, 1));
  const even = (length) => Math.max(2 * Math.round((length * scale) / 2), 160);
  return { width: even(box.width), height: even(box.height) };
}

function fit(box, { width, height }) {
  const scale = Math.min(box.width / width, box.height / height);
  return Number.isFinite(scale) && scale > 0 ? scale : undefined;
}

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

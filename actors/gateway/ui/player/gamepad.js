// Gamepads, looked at before each picture while there is one.

const MOST_AXES = 6;
// A stick that is let go of trembles.
const LEAST_CHANGE = 0.02;

/**
 * Returns the messages that tell how a gamepad went from `before` to `now`, both as `state` returns
 * them; without `before` it is new.
 */
export function changes(id, before, now) {
  const was = before ?? { buttons: [], axes: [] };
  const buttons = now.buttons
    .map((pressed, index) => ["input::gamepad-button", { id, index, pressed }])
    .filter(([, { index, pressed }]) => pressed !== (was.buttons[index] ?? false));
  const axes = now.axes
    .map((value, index) => ["input::gamepad-axes", { id, index, value }])
    .filter(([, { index, value }]) => value !== (was.axes[index] ?? 0));
  return [...buttons, ...axes];
}

/** Returns what a gamepad says now; an axis keeps its value until it differs enough. */
export function state(gamepad, before) {
  const buttons = gamepad.buttons.map(({ pressed }) => pressed);
  const axes = gamepad.axes.slice(0, MOST_AXES).map((value, index) => {
    const last = before?.axes[index] ?? 0;
    const rounded = Math.round(value * 100) / 100;
    const rests = Math.abs(rounded) < LEAST_CHANGE ? 0 : rounded;
    return rests === 0 || Math.abs(rests - last) >= LEAST_CHANGE ? rests : last;
  });
  return { buttons, axes };
}

/** Sends what all gamepads do over `control` until the returned function is called. */
export function forwardGamepads(control) {
  const last = new Map();
  let due;
  const look = () => {
    for (const gamepad of navigator.getGamepads()) {
      if (!gamepad || gamepad.index > 3) continue;
      const before = last.get(gamepad.index);
      const now = state(gamepad, before);
      for (const [type, data] of changes(gamepad.index, before, now)) control.send(type, data);
      last.set(gamepad.index, now);
    }
    due = requestAnimationFrame(look);
  };
  look();
  return () => cancelAnimationFrame(due);
}

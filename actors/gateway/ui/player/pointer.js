// Fingers, pens and the mouse on the picture become touches and mouse events in the application.

import { streamMovement, streamPixels } from "./coordinates.js";

const MOST_TOUCHES = 10;

// Buttons are numbered from 1; the fourth, which goes back in browsers, is nothing there.
const NO_BUTTON = 3;

/**
 * Sends what pointers do on `surface` until the returned object's `stop()`.
 *
 * `view()` returns `{box, picture, turns}` as it is shown. A touch or a press begins inside the
 * picture only, never on the bars beside it; once begun it may leave the picture and is then held at
 * its edge. `touched(event)` is told of each that begins.
 */
export function forwardPointers(surface, control, view, touched) {
  const touches = new Map();
  const pressed = new Set();
  const listening = new AbortController();
  const { signal } = listening;
  const listen = (name, handler, options) =>
    surface.addEventListener(name, handler, { signal, ...options });
  const locked = () => document.pointerLockElement === surface;

  const locate = ({ clientX, clientY }) => {
    const { box, picture, turns } = view();
    return streamPixels(clientX, clientY, box, picture, turns);
  };
  const moveMouse = (event, place) => {
    const { box, picture, turns } = view();
    const by = streamMovement(event.movementX, event.movementY, box, picture, turns);
    if (!by) return;
    const relative = { rx: Math.round(by.x), ry: Math.round(by.y) };
    if (!locked()) control.send("input::mouse-move", { ...relative, x: place.x, y: place.y });
    else if (relative.rx || relative.ry) control.send("input::mouse-move", relative);
  };
  const button = (number, down) => {
    if (number === NO_BUTTON || pressed.has(number) === down) return;
    if (down) pressed.add(number);
    else pressed.delete(number);
    control.send("input::mouse-button", { button: number + 1, pressed: down });
  };

  listen("pointerdown", (event) => {
    const place = locate(event);
    if (!place?.inside && !locked()) return;
    event.preventDefault();
    touched(event);
    if (event.pointerType === "mouse") {
      if (!locked()) surface.setPointerCapture(event.pointerId);
      moveMouse(event, place);
      return button(event.button, true);
    }
    const id = freeId(touches);
    if (event.button !== 0 || id === undefined) return;
    touches.set(event.pointerId, id);
    surface.setPointerCapture(event.pointerId);
    control.send("input::touch-start", { id, x: place.x, y: place.y });
  });

  listen("pointermove", (event) => {
    const place = locate(event);
    if (!place) return;
    if (event.pointerType === "mouse") {
      // A second button that goes down or up while one is held comes as a movement.
      if (event.button > 0) button(event.button, Boolean(event.buttons & BITS[event.button]));
      if (place.inside || pressed.size || locked()) moveMouse(event, place);
      return;
    }
    const id = touches.get(event.pointerId);
    if (id !== undefined) control.send("input::touch-move", { id, x: place.x, y: place.y });
  });

  const endTouch = (event) => {
    const id = touches.get(event.pointerId);
    if (id === undefined) return;
    touches.delete(event.pointerId);
    control.send("input::touch-end", { id, last: touches.size === 0 });
  };
  const releaseButtons = () => [...pressed].forEach((number) => button(number, false));
  listen("pointerup", (event) => {
    if (event.pointerType === "mouse") button(event.button, false);
    else endTouch(event);
  });
  listen("pointercancel", (event) => {
    if (event.pointerType === "mouse") releaseButtons();
    else endTouch(event);
  });
  listen("lostpointercapture", endTouch);

  listen("wheel", (event) => {
    if (!locate(event)?.inside && !locked()) return;
    event.preventDefault();
    const [x, y] = [-Math.sign(event.deltaX), -Math.sign(event.deltaY)];
    if (x || y) control.send("input::mouse-wheel", { x, y });
  }, { passive: false });
  // A long press and the right button are the application's, too.
  listen("contextmenu", (event) => event.preventDefault());

  return {
    /** Has the mouse move without end, until Escape. */
    lock: () => Promise.resolve(surface.requestPointerLock()),
    stop: () => {
      listening.abort();
      releaseButtons();
      if (locked()) document.exitPointerLock();
    },
  };
}

/** Sends nothing of what pointers do, which scroll the page as ever, but tells `touched` of it. */
export function answerPointers(surface, view, touched) {
  const listening = new AbortController();
  surface.addEventListener("pointerdown", (event) => {
    const { box, picture, turns } = view();
    if (streamPixels(event.clientX, event.clientY, box, picture, turns)?.inside) touched(event);
  }, { signal: listening.signal });
  return { stop: () => listening.abort() };
}

// The bits of `buttons` by the number of a button.
const BITS = [1, 4, 2, 8, 16];

function freeId(touches) {
  const taken = new Set(touches.values());
  return Array.from({ length: MOST_TOUCHES }, (_, id) => id).find((id) => !taken.has(id));
}

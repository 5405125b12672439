// Fingers and the mouse on the picture become touches in the application.

const MOST_TOUCHES = 10;

/**
 * Sends every touch of `video` over `channel` until the returned function is called.
 *
 * A touch begins inside the picture only, never on the bars beside it; once begun it may leave the
 * picture and is then held at its edge.
 */
export function forwardTouches(video, channel) {
  const touches = new Map();
  const listening = new AbortController();
  const listen = (name, handler) =>
    video.addEventListener(name, handler, { signal: listening.signal });
  const send = (type, data) => {
    if (channel.readyState === "open") channel.send(JSON.stringify({ type, data }));
  };
  const locate = ({ clientX, clientY }) => {
    const picture = { width: video.videoWidth, height: video.videoHeight };
    return streamPixels(clientX, clientY, video.getBoundingClientRect(), picture);
  };

  listen("pointerdown", (event) => {
    const place = locate(event);
    const id = freeId(touches);
    if (event.button !== 0 || id === undefined || !place?.inside) return;
    event.preventDefault();
    touches.set(event.pointerId, id);
    video.setPointerCapture(event.pointerId);
    send("input::touch-start", { id, x: place.x, y: place.y });
  });

  listen("pointermove", (event) => {
    const id = touches.get(event.pointerId);
    const place = locate(event);
    if (id === undefined || !place) return;
    send("input::touch-move", { id, x: place.x, y: place.y });
  });

  const end = (event) => {
    const id = touches.get(event.pointerId);
    if (id === undefined) return;
    touches.delete(event.pointerId);
    send("input::touch-end", { id, last: touches.size === 0 });
  };
  listen("pointerup", end);
  listen("pointercancel", end);
  listen("lostpointercapture", end);
  // A long press is the application's, too.
  listen("contextmenu", (event) => event.preventDefault());

  return () => listening.abort();
}

/**
 * Returns the pixel of `picture` shown at a place of the window, the picture being fitted into
 * `box` whole and centred; `inside` is false when the nearest pixel had to do. Returns undefined
 * while there is no picture.
 */
export function streamPixels(clientX, clientY, box, picture) {
  const scale = Math.min(box.width / picture.width, box.height / picture.height);
  if (!Number.isFinite(scale) || scale <= 0) return undefined;
  const left = box.left + (box.width - picture.width * scale) / 2;
  const top = box.top + (box.height - picture.height * scale) / 2;
  const x = (clientX - left) / scale;
  const y = (clientY - top) / scale;
  const held = { x: clamp(x, picture.width - 1), y: clamp(y, picture.height - 1) };
  const inside = x >= 0 && y >= 0 && x < picture.width && y < picture.height;
  return { ...held, inside };
}

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

function freeId(touches) {
  const taken = new Set(touches.values());
  return Array.from({ length: MOST_TOUCHES }, (_, id) => id).find((id) => !taken.has(id));
}

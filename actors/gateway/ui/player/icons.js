// The drawings on the player's buttons, 24 by 24, in strokes of the text's colour.

const PATHS = {
  back: "M15 5 8 12l7 7",
  volume_down: "M2 9.5v5h3l4.5 4v-13L5 9.5zM18 5v14M14 15l4 4 4-4",
  volume_up: "M2 9.5v5h3l4.5 4v-13L5 9.5zM18 19V5M14 9l4-4 4 4",
  keyboard: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M18 10h.01M7 14h10",
  text: "M5 6h14M12 6v13M9 19h6",
  paste: "M8 5H5v16h14V5h-3M9 3h6v4H9zM9 12h6M9 16h4",
  gamepad: "M7 7h10a5 5 0 0 1 4.6 7l-1 2.4a2.4 2.4 0 0 1-4 .6L15 15H9l-1.6 2a2.4 2.4 0 0 1-4-.6l-1-2.4A5 5 0 0 1 7 7zM8 9.5v3M6.5 11h3M15.5 11h.01M18 11h.01",
  pointer: "M5 3v16l4.5-4.5L12.5 21l2.5-1-3-6.5H18z",
  microphone: "M12 3a3 3 0 0 1 3 3v6a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3",
  camera: "M3 7h12v10H3zM15 11l6-3.5v9L15 13",
  rotate: "M20 5v5h-5M19.5 10A8 8 0 1 0 20 14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M8.5 9.5h7v5h-7z",
  screenshot: "M3 8h4l2-3h6l2 3h4v11H3zM12 10.5a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  in_picture: "M3 5h18v14H3zM12.5 12h6v4.5h-6z",
  statistics: "M4 4v16h16M8 15l3.5-4.5 3 2.5L20 7",
  sound_on: "M4 9v6h4l5 4V5L8 9zM16.5 9a4.5 4.5 0 0 1 0 6M19 6.5a8 8 0 0 1 0 11",
  sound_off: "M4 9v6h4l5 4V5L8 9zM17 9.5l5 5M22 9.5l-5 5",
  full_screen: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  leave: "M14 4h6v16h-6M4 12h11M8 8l-4 4 4 4",
  end: "M6 6l12 12M18 6 6 18",
  handle: "M6 15l6-6 6 6",
};

const SVG = "http://www.w3.org/2000/svg";

/** Returns the drawing called `name`, for eyes only. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

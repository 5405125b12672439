// What can be done with the picture alone: keep the screen awake, take it along, show it whole.

import { turned } from "./coordinates.js";

/** Draws what `video` shows on `canvas`, turned by quarter turns; returns whether there was anything. */
export function still(video, canvas, turns = 0) {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return false;
  Object.assign(canvas, turned({ width, height }, turns));
  const context = canvas.getContext("2d");
  context.translate(canvas.width / 2, canvas.height / 2);
  context.rotate((turns * Math.PI) / 2);
  context.drawImage(video, -width / 2, -height / 2);
  return true;
}

/** Has the browser save what `video` shows as a picture. */
export async function screenshot(video, turns) {
  const canvas = document.createElement("canvas");
  if (!still(video, canvas, turns)) return;
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `screenshot-${new Date().toISOString().slice(0, 19).replace(/:/g, "-")}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function canBeInPicture() {
  return Boolean(document.pictureInPictureEnabled);
}

/** Takes `video` out of the page, or back. */
export async function toggleInPicture(video) {
  if (document.pictureInPictureElement) return document.exitPictureInPicture();
  video.disablePictureInPicture = false;
  video.onleavepictureinpicture = () => keepInPage(video);
  try {
    await video.requestPictureInPicture();
  } catch (error) {
    keepInPage(video);
    throw error;
  }
}

/**
 * Has `video` leave the page only when the player says so: over one that may at any time, Firefox
 * lays a button of its own, and what is clicked there never comes to the application.
 */
export function keepInPage(video) {
  video.disablePictureInPicture = true;
  // It looks at that again only when there is something new about the video.
  video.dispatchEvent(new Event("durationchange"));
}

export function canBeFull(video) {
  return Boolean(document.fullscreenEnabled || video.webkitEnterFullscreen);
}

/** Shows `element` on the whole screen, or the video alone where a phone can do no more. */
export async function toggleFull(element, video) {
  if (document.fullscreenElement) return document.exitFullscreen();
  if (document.fullscreenEnabled) return element.requestFullscreen({ navigationUI: "hide" });
  return video.webkitEnterFullscreen();
}

/** Keeps the screen on until the returned function is called; a browser may refuse that. */
export function stayAwake() {
  let lock;
  let over = false;
  const ask = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      lock = await navigator.wakeLock?.request("screen");
      if (over) lock?.release();
    } catch {}
  };
  document.addEventListener("visibilitychange", ask);
  ask();
  return () => {
    over = true;
    document.removeEventListener("visibilitychange", ask);
    lock?.release().catch(() => {});
  };
}

// What people do to an application with mouse, fingers and keys, the same in every browser. `by` is a
// ChromiumVisitor or a FirefoxVisitor.

import { equal, has, magenta, saidBy, seenIn, windowPlace } from "./player_page.mjs";

const FINGERS = 10;

/** Clicks with both buttons and turns the wheel: the application is told where, and shows it. */
export async function useMouse(by) {
  const { page } = by;
  const pixel = { x: 400, y: 600 };
  const place = await windowPlace(page, pixel);
  const said = await saidBy(page, async () => {
    await seenIn(page, "mouse", async () => {
      await page.mouse.click(place.x, place.y);
      await page.mouse.click(place.x, place.y, { button: "right" });
      await page.mouse.wheel(0, 100);
    });
    await page.waitForFunction(magenta, [pixel]);
  });
  const button = (number, pressed) => ["input::mouse-button", { button: number, pressed }];
  equal(said.map(({ type, data }) => [type, data]), [button(1, true), button(1, false),
    button(3, true), button(3, false), ["input::mouse-wheel", { x: 0, y: -1 }]]);
  const moves = await page.evaluate(() => window.said.filter(({ type }) => type === "input::mouse-move"));
  const places = moves.map(({ data }) => [Math.round(data.x), Math.round(data.y)]);
  equal(places, moves.map(() => [pixel.x, pixel.y]));
  if (moves.length < 2) throw new Error("the mouse did not move");
  await has(page, "stream-player.captured");
}

/** With the pointer locked there are no places, but movements without end. */
export async function lockPointer(by) {
  const { page } = by;
  await by.press("Lock the pointer");
  await has(page, "stream-player.locked");
  await page.mouse.move(200, 200);
  await page.evaluate(() => (window.said.length = 0));
  await page.mouse.move(260, 230);
  await page.waitForFunction(() =>
    window.said.some(({ type, data }) => type === "input::mouse-move" && data.x === undefined && data.rx));
  await page.evaluate(() => document.exitPointerLock());
  await has(page, "stream-player:not(.locked)");
}

export async function useFingers(by) {
  const { page } = by;
  const pixels = Array.from({ length: FINGERS }, (_, n) => ({ x: 100 + 110 * n, y: 620 }));
  const places = await Promise.all(pixels.map((pixel) => windowPlace(page, pixel)));
  const said = await saidBy(page, async () => {
    const fingers = await by.touch(places.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) })));
    await page.waitForFunction(magenta, pixels);
    await fingers.moveBy(20);
    await fingers.lift();
    await page.waitForFunction(() => window.said.filter(({ data }) => data.last).length === 1);
  });
  const of = (kind) => said.filter(({ type }) => type === `input::touch-${kind}`).map(({ data }) => data);
  equal(of("start").map(({ id }) => id), [...pixels.keys()]);
  equal(of("start").map(({ x, y }) => [Math.round(x), Math.round(y)]), pixels.map(({ x, y }) => [x, y]));
  equal(of("end").length, FINGERS);
  if (of("move").length < FINGERS) throw new Error(`only ${of("move").length} movements`);
}

/** Types, and takes the keyboard back with Escape twice. */
export async function typeKeys(by) {
  const { page } = by;
  const place = await windowPlace(page, { x: 900, y: 600 });
  await page.mouse.click(place.x, place.y);
  await by.sees("Press Esc twice to release the keyboard");
  await by.look("captured");
  const said = await saidBy(page, () => seenIn(page, "text", async () => {
    await page.keyboard.press("Shift+KeyH");
    await page.keyboard.press("KeyI");
    await page.keyboard.press("ArrowLeft");
  }));
  const codes = said.map(({ data }) => (data.pressed ? data.code : -data.code));
  equal(codes, [84, 11, -11, -84, 12, -12, 80, -80]);
  // What another keyboard writes there comes as text.
  const typed = await saidBy(page, () => page.keyboard.type("é"));
  equal(typed.map(({ data }) => data), [{ type: 1, data: { text: "é" } }]);
  await page.keyboard.down("KeyW");
  const released = await saidBy(page, () => escapeTwice(page));
  await has(page, "stream-player:not(.captured)");
  equal(released.at(-1).data, { code: 26, pressed: false });
  await page.keyboard.up("KeyW");
  const after = await saidBy(page, () => page.keyboard.press("KeyX"));
  equal(after, []);
}

/** Pastes by keys and by the button, also where the browser does not let the page. */
export async function paste(by) {
  const { page } = by;
  await page.evaluate(() => navigator.clipboard.writeText("from the clipboard"));
  const pasted = await saidBy(page, () => page.keyboard.press("Control+KeyV"));
  equal(pasted.filter(({ type }) => type === "input::ime-event").map(({ data }) => data.data.text),
    ["from the clipboard"]);
  await escapeTwice(page);
  const again = await saidBy(page, async () => {
    await by.press("Paste");
    await by.sees("Pasted.");
  });
  equal(again.map(({ data }) => data.data.text), ["from the clipboard"]);
  await page.evaluate(() => {
    navigator.clipboard.readText = () => Promise.reject(new DOMException("", "NotAllowedError"));
  });
  await by.press("Paste");
  await by.sees("did not let this page read the clipboard");
  await page.evaluate(() => delete navigator.clipboard.readText);
}

/** Writes in the line for text, which is sent at once. */
export async function writeLine(by) {
  const { page } = by;
  await by.press("Text input");
  await has(page, '.composer textarea[aria-label="Text input"]:focus');
  await page.keyboard.type("Grüße 🙂");
  await by.look("text-input");
  const written = await saidBy(page, () => seenIn(page, "text", () => page.keyboard.press("Enter")));
  equal(written.map(({ data }) => data.data.text), ["Grüße 🙂"]);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector(".composer"));
}

/** The bar goes by itself, and comes for whoever has no pointer. */
export async function useBar(by) {
  const { page } = by;
  await page.mouse.move(300, 300);
  await page.mouse.move(310, 310);
  await by.look("bar", { before: async () => {
    await page.evaluate(() => {
      const player = document.querySelector("stream-player");
      player.bar.show();
      player.bar.open(innerWidth < 900);
    });
  } });
  await page.evaluate(() => document.querySelector("stream-player").bar.open(false));
  await has(page, "stream-player:not(.moved)");
  await page.evaluate(() => document.querySelector("stream-player .surface").focus());
  for (let tabs = 0; tabs < 30; tabs += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.dataset.name === "back")) break;
  }
  const said = await saidBy(page, () => page.keyboard.press("Enter"));
  equal(said.map(({ data }) => [data.code, data.pressed]), [[92, true], [92, false]]);
  const louder = await saidBy(page, async () => {
    await by.press("Volume up");
    await by.press("Volume down");
  });
  equal(louder.map(({ data }) => data.code), [90, 90, 89, 89]);
  const small = await page.evaluate(() => [...document.querySelectorAll("stream-player .bar button")]
    .filter((button) => !button.hidden).map((button) => button.getBoundingClientRect())
    .filter(({ width, height }) => width < 44 || height < 44).length);
  equal(small, 0);
}

async function escapeTwice(page) {
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
}

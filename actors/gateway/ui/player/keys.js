// Which code a key has for the application. Pure: what a key event says in, what to send out.

// Usages of USB HID, and behind them numbers of the protocol's own. By the place of the key, as
// browsers name it.
const NAMED = {
  Enter: 40, Escape: 41, Backspace: 42, Tab: 43, Space: 44, Minus: 45, Equal: 46, BracketLeft: 47,
  BracketRight: 48, Backslash: 49, IntlHash: 50, Semicolon: 51, Quote: 52, Backquote: 53, Comma: 54,
  Period: 55, Slash: 56, CapsLock: 57, PrintScreen: 70, ScrollLock: 71, Pause: 72, Insert: 73,
  Home: 74, PageUp: 75, Delete: 76, End: 77, PageDown: 78, ArrowRight: 79, ArrowLeft: 80,
  ArrowDown: 81, ArrowUp: 82, ControlLeft: 83, ControlRight: 83, ShiftLeft: 84, ShiftRight: 84,
  AltLeft: 85, MetaLeft: 86, MetaRight: 86, AltRight: 87, NumLock: 88, AudioVolumeDown: 89,
  VolumeDown: 89, AudioVolumeUp: 90, VolumeUp: 90, Power: 91, BrowserBack: 92, NumpadEnter: 40,
};

/** The codes of keys that the player has buttons for. */
export const BACK = 92;
export const VOLUME_DOWN = 89;
export const VOLUME_UP = 90;
export const ESCAPE = 41;

// What the keys of the keyboard write that the application believes in, plain and with Shift.
const WRITTEN = {
  Space: "  ", Minus: "-_", Equal: "=+", BracketLeft: "[{", BracketRight: "]}", Backslash: "\\|",
  Semicolon: ";:", Quote: "'\"", Backquote: "`~", Comma: ",<", Period: ".>", Slash: "/?",
};
const ABOVE_DIGITS = ")!@#$%^&*(";

/** Returns the code of the key at a place, if it has one. */
export function codeAt(place) {
  const letter = /^Key([A-Z])$/.exec(place)?.[1];
  if (letter) return letter.charCodeAt(0) - 65 + 4;
  const digit = /^Digit(\d)$/.exec(place)?.[1];
  if (digit) return digit === "0" ? 39 : 29 + Number(digit);
  const f = /^F([1-9]|1[0-2])$/.exec(place)?.[1];
  if (f) return 57 + Number(f);
  return Object.hasOwn(NAMED, place) ? NAMED[place] : undefined;
}

/**
 * Returns what a key event means to the application: `{code}` of a key that is held, `{text}` of
 * one that writes what its place would not write there, or nothing when it is the input method's.
 *
 * A German or a French keyboard writes what is on its keys that way, and each key still has its
 * place for whoever plays with it together with Control, Alt or Meta.
 */
export function meaning(event) {
  const { code: place, key, isComposing, ctrlKey, altKey, metaKey } = event;
  if (isComposing || key === "Process" || key === "Dead" || key === "Unidentified") return undefined;
  const code = codeAt(place);
  const writes = [...key].length === 1;
  // What AltGr writes says on some systems that Control and Alt are held.
  const alternate = event.getModifierState?.("AltGraph") ?? false;
  const commands = (ctrlKey || altKey || metaKey) && !alternate;
  if (writes && !commands && key !== character(place, event.shiftKey)) return { text: key };
  return code === undefined ? undefined : { code };
}

function character(place, shift) {
  const letter = /^Key([A-Z])$/.exec(place)?.[1];
  if (letter) return shift ? letter : letter.toLowerCase();
  const digit = /^Digit(\d)$/.exec(place)?.[1];
  if (digit) return shift ? ABOVE_DIGITS[digit] : digit;
  return Object.hasOwn(WRITTEN, place) ? WRITTEN[place][shift ? 1 : 0] : undefined;
}

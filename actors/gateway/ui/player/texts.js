// What the player and the page around it say, in the language of the browser or the one that was
// chosen.

import { sayer } from "../language.js";
import { de } from "./texts/de.js";
import { en } from "./texts/en.js";

export { current } from "../language.js";

export const say = sayer({ en, de });

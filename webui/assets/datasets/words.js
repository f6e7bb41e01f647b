// The words of the room in the visitor's language. In the locales they stand under `text.dataset`; here a key begins with `dataset.`.

import { get } from './api.js';

let words = {};

export async function load() {
    words = await get('words');
}

/** A text with its blanks filled; numbers are written as the language writes them. A key without a text is shown as it is. */
export function t(key, values = {}) {
    const text = words[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (blank, name) => (name in values ? written(values[name]) : blank));
}

/** Whether there is such a word. */
export const known = (key) => key in words;

const written = (value) => (typeof value === 'number' ? value.toLocaleString(document.documentElement.lang || 'en') : String(value));

// The difference of two captions, shown as one line with what goes and what comes.

import { h } from './dom.js';

/** Pieces [kind, text] of the way from one text to another; kind is "same", "gone" or "new". Tags where there are any, else words. */
export function difference(before, after) {
    const tags = before.includes(',') || after.includes(',');
    const a = pieces(before, tags), b = pieces(after, tags), lengths = common(a, b), result = [];
    let i = 0, j = 0;
    const add = (kind, text) => {
        const last = result.at(-1);
        if (last?.[0] === kind) last[1] += text;
        else result.push([kind, text]);
    };
    while (i < a.length || j < b.length) {
        if (i < a.length && j < b.length && a[i] === b[j]) { add('same', a[i]); i++; j++; }
        else if (j >= b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) add('gone', a[i++]);
        else add('new', b[j++]);
    }
    return result;
}

export const shown = (before, after) => difference(before, after).map(([kind, text]) => (kind === 'same' ? text : h(kind === 'gone' ? 'del' : 'ins', {}, text)));

const pieces = (text, tags) => text.match(tags ? /,\s*|[^,]+/g : /\s+|\S+/g) ?? [];

/** lengths[i][j]: how many pieces a from i on and b from j on have in common, in order. */
function common(a, b) {
    const lengths = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
    for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    return lengths;
}

// The arithmetic of a crop: boxes [left, top, right, bottom] in whole px of the upright picture. Knows no page.

export const SMALLEST = 8;

const held = (value, low, high) => Math.min(Math.max(value, low), high);

// The largest box of this aspect (width / height; null: the whole picture) in the middle of the picture.
export function centred([width, height], aspect) {
    if (!aspect) return [0, 0, width, height];
    const wide = width / height > aspect;
    const w = held(Math.round(wide ? height * aspect : width), 1, width);
    const h = held(Math.round(wide ? height : width / aspect), 1, height);
    const left = Math.floor((width - w) / 2), top = Math.floor((height - h) / 2);
    return [left, top, left + w, top + h];
}

// The box moved as far as the picture goes.
export function moved([left, top, right, bottom], dx, dy, [width, height]) {
    const x = held(Math.round(dx), -left, width - right), y = held(Math.round(dy), -top, height - bottom);
    return [left + x, top + y, right + x, bottom + y];
}

// The box with the sides named in `handle` ("n", "se", ...) dragged by so many px. With an aspect the opposite corner or side stays.
export function dragged(box, handle, dx, dy, size, aspect) {
    let [left, top, right, bottom] = box;
    const least = [Math.min(SMALLEST, size[0]), Math.min(SMALLEST, size[1])];
    if (handle.includes('w')) left = held(Math.round(left + dx), 0, right - least[0]);
    if (handle.includes('e')) right = held(Math.round(right + dx), left + least[0], size[0]);
    if (handle.includes('n')) top = held(Math.round(top + dy), 0, bottom - least[1]);
    if (handle.includes('s')) bottom = held(Math.round(bottom + dy), top + least[1], size[1]);
    return aspect ? shaped([left, top, right, bottom], handle, aspect, size) : [left, top, right, bottom];
}

// The box brought to an aspect: it grows from the side that was not dragged, and is as large as the picture lets it be.
function shaped([left, top, right, bottom], handle, aspect, size) {
    const upright = handle === 'n' || handle === 's';
    let w = upright ? (bottom - top) * aspect : right - left;
    const x = handle.includes('w') ? right : handle.includes('e') ? left : (left + right) / 2;
    const y = handle.includes('n') ? bottom : handle.includes('s') ? top : (top + bottom) / 2;
    const roomX = handle.includes('w') ? x : handle.includes('e') ? size[0] - x : 2 * Math.min(x, size[0] - x);
    const roomY = handle.includes('n') ? y : handle.includes('s') ? size[1] - y : 2 * Math.min(y, size[1] - y);
    w = Math.min(w, roomX, roomY * aspect);
    const h = w / aspect;
    const l = handle.includes('w') ? x - w : handle.includes('e') ? x : x - w / 2;
    const t = handle.includes('n') ? y - h : handle.includes('s') ? y : y - h / 2;
    return whole([l, t, l + w, t + h], size);
}

// The box in whole px inside the picture, with at least one px a side.
export function whole([left, top, right, bottom], [width, height]) {
    const l = held(Math.round(left), 0, width - 1), t = held(Math.round(top), 0, height - 1);
    return [l, t, held(Math.round(right), l + 1, width), held(Math.round(bottom), t + 1, height)];
}

// The frame that is dragged over a picture to crop it: by its inside, by eight handles, or with the arrow keys.

import { h } from './dom.js';
import { t } from './words.js';
import { centred, dragged, moved, whole } from './crop_box.js';

const HANDLES = ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w'];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `stage` is the element that the picture fills, `size` its upright [width, height] in px; `changed(box)` hears of every change.
export function cropFrame(stage, size, changed) {
    let box = centred(size, null), aspect = null;
    const handles = HANDLES.map((name) => h('span', { class: `crop-handle crop-${name}`, 'data-handle': name }));
    const frame = h('div', { class: 'crop-frame', tabindex: '0', role: 'group', 'aria-label': t('dataset.viewer.crop_frame') }, ...handles);
    const hole = h('i'), shade = h('div', { class: 'crop-shade' }, hole);  // what is cut away is dark, and nothing beside the picture
    stage.append(shade, frame);

    function set(next) {
        box = whole(next, size);
        const [left, top, right, bottom] = box;
        const percent = (value, all) => `${(100 * value) / all}%`;
        for (const { style } of [frame, hole]) {
            Object.assign(style, { left: percent(left, size[0]), top: percent(top, size[1]), width: percent(right - left, size[0]), height: percent(bottom - top, size[1]) });
        }
        changed(box);
    }

    frame.addEventListener('pointerdown', (event) => {
        event.preventDefault();
        frame.focus();
        frame.setPointerCapture(event.pointerId);
        const handle = event.target.dataset.handle, from = box, scale = size[0] / stage.clientWidth;
        const move = (at) => {
            const dx = (at.clientX - event.clientX) * scale, dy = (at.clientY - event.clientY) * scale;
            set(handle ? dragged(from, handle, dx, dy, size, aspect) : moved(from, dx, dy, size));
        };
        const end = () => {
            frame.removeEventListener('pointermove', move);
            frame.removeEventListener('pointerup', end);
            frame.removeEventListener('pointercancel', end);
        };
        frame.addEventListener('pointermove', move);
        frame.addEventListener('pointerup', end);
        frame.addEventListener('pointercancel', end);
    });
    // Arrows move the frame, with Alt they move its lower right corner; with Shift by ten px.
    frame.addEventListener('keydown', (event) => {
        const way = KEYS[event.key];
        if (!way) return;
        event.preventDefault();
        event.stopPropagation();
        const [dx, dy] = way.map((each) => each * (event.shiftKey ? 10 : 1));
        set(event.altKey ? dragged(box, 'se', dx, dy, size, aspect) : moved(box, dx, dy, size));
    });

    return {
        get box() { return box; },
        set,
        // A new aspect (width / height, null for any) begins with the largest frame that has it.
        shape(next) {
            aspect = next;
            if (next) set(centred(size, next));
        },
        remove() {
            frame.remove();
            shade.remove();
        },
    };
}

// Elements without markup: everything that comes from files or people becomes text, never HTML.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['value', 'checked', 'indeterminate', 'selected', 'disabled', 'hidden', 'open', 'readOnly', 'tabIndex']);

// Paths on a field of 24 by 24, drawn as lines.
const ICONS = {
    undo: 'M9 14 4 9l5-5M4 9h10.5a5.5 5.5 0 0 1 0 11H11',
    redo: 'm15 14 5-5-5-5M20 9H9.5a5.5 5.5 0 0 0 0 11H13',
    search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M20 20l-4-4',
    close: 'M6 6l12 12M18 6 6 18',
    plus: 'M12 5v14M5 12h14',
    folder: 'M3 6.5A1.5 1.5 0 0 1 4.5 5H9l2 2.5h8.5A1.5 1.5 0 0 1 21 9v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 18z',
    upload: 'M12 16V4M7 9l5-5 5 5M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3',
    download: 'M12 4v12M7 11l5 5 5-5M4 17v2a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-2',
    tag: 'M4 4h7.5L20 12.5 12.5 20 4 11.5zM8 8h.01',
    edit: 'M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4',
    frames: 'M4 5h10v14H4zM17 8h3v11h-3',
    check: 'M4 12.5 9.5 18 20 6.5',
    warn: 'M12 5v9M12 18.5h.01',
    layers: 'm12 3 9 5-9 5-9-5zM3 13l9 5 9-5',
    eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5',
    back: 'M15 5l-7 7 7 7',
    next: 'M9 5l7 7-7 7',
    rotate: 'M20 5v5h-5M20 10A8 8 0 1 0 21 14',
    crop: 'M7 2v15h15M2 7h15v15',
    brush: 'M14 4l6 6-8 8H6v-6zM4 21h16',
    more: 'M5 12h.01M12 12h.01M19 12h.01',
};

/**
 * An element. `onclick` and the like take functions; `class`, `data-…` and `aria-…` are attributes; null and false leave one out.
 * Children are elements, text or lists of them; null and false are passed over.
 */
export function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    set(element, attributes ?? {});
    element.append(...flat(children));
    return element;
}

export function set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith('on') && typeof value === 'function') element.addEventListener(name.slice(2), value);
        else if (PROPERTIES.has(name)) element[name] = value;
        else if (value === null || value === undefined || value === false) element.removeAttribute(name);
        else element.setAttribute(name, value === true ? '' : value);
    }
    return element;
}

/** Puts other children into an element. */
export function fill(element, ...children) {
    element.replaceChildren(...flat(children));
    return element;
}

export function icon(name) {
    const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('class', 'room-icon');
    svg.setAttribute('aria-hidden', 'true');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
}

/** A button; with an icon alone its `label` is the name and the tooltip. */
export function button(label, onclick, { kind = '', icon: sign = '', bare = false, ...more } = {}) {
    const attributes = { type: 'button', class: `room-button ${kind} ${bare ? 'bare' : ''}`.trim(), onclick, ...more };
    if (bare) Object.assign(attributes, { 'aria-label': label, title: more.title ?? label });
    return h('button', attributes, sign && icon(sign), !bare && h('span', {}, label));
}

/** A function that runs once `ms` have passed without another call. */
export function debounced(work, ms) {
    let timer;
    return (...given) => {
        clearTimeout(timer);
        timer = setTimeout(() => work(...given), ms);
    };
}

/** Whether a key belongs to an input method, which is composing with it. */
export const composing = (event) => event.isComposing || event.keyCode === 229;

const flat = (children) => children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false && each !== '');

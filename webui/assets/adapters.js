// The buttons on adapter cards and in the report of pictures: they write into the prompt, which says alone what is in force.
(() => {
    const box = (name) => document.querySelector(`#generate-${name} textarea`);
    const coarse = matchMedia('(pointer: coarse)');

    // Writes over a part of a field. As if typed, so that the browser can undo it; on a touch screen without calling up the keyboard.
    const put = (field, piece, start, end = start) => {
        if (!coarse.matches) {
            field.focus({ preventScroll: true });
            field.setSelectionRange(start, end);
            if (document.execCommand(piece ? 'insertText' : 'delete', false, piece)) return;
        }
        field.setRangeText(piece, start, end, 'end');
        field.dispatchEvent(new Event('input', { bubbles: true }));
    };

    // Where the cursor was last, or behind the tag it is in.
    const cursor = (field) => {
        const at = field.selectionStart, text = field.value, open = text.lastIndexOf('<', at - 1), close = text.indexOf('>', open);
        return open >= 0 && close >= at && /^<\w+:/.test(text.slice(open)) ? close + 1 : at;
    };

    // Writes words at the cursor, apart from what stands there; with a comma where they go on a list.
    const insert = (field, words, comma) => {
        const at = cursor(field), before = field.value.slice(0, at), after = field.value.slice(at), bare = before.trimEnd();
        const joined = comma && bare && !/[,(]$/.test(bare);
        const lead = joined ? ', ' : before && !/[\s(]$/.test(before) ? ' ' : '';
        put(field, lead + words + (after && !/^[\s,)]/.test(after) ? ' ' : ''), joined ? bare.length : at, at);
    };

    const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    // [whole, kind, name, arguments] of the tag by which a prompt calls one of the names.
    const calling = (text, names) => text.match(new RegExp(`<(lora|lyco):\\s*(${names.map(escaped).join('|')})\\s*((?::[^>]*)?)>`, 'i'));
    const names = (card) => card.dataset.calls.split('\n');
    const isNumber = (text) => text.trim() !== '' && Number.isFinite(Number(text));

    // {number, plain}: the strength in a tag, and whether a slider can move it: strengths by step or by name stay as they are.
    const strength = (found) => {
        const given = found[3].split(':').slice(1);
        const placed = given.filter((each) => !each.includes('='));
        return { number: placed.length ? Number(placed[0]) : 1, plain: placed.every(isNumber) && !given.some((each) => /^\s*(te|unet)=/.test(each)) };
    };

    const withStrength = (found, value) => {
        let place = 0;
        const given = found[3].split(':').slice(1).map((each) => (each.includes('=') || ++place > 2 ? each : String(value)));
        return `<${[found[1], found[2], ...(place ? [] : [value]), ...given].join(':')}>`;
    };

    // A card is "in use" when its tag stands in the prompt; then its slider moves the number in the tag.
    const show = (card, text) => {
        const found = calling(text, names(card)), button = card.querySelector('.insert'), slider = card.querySelector('.strength');
        card.classList.toggle('in-use', Boolean(found));
        button.textContent = found ? button.dataset.remove : button.dataset.add;
        const { number, plain } = found ? strength(found) : { number: Number(slider.value), plain: true };
        slider.disabled = !plain;
        if (found && plain) slider.value = number;
        card.querySelector('output').textContent = plain ? number.toFixed(2) : '···';
    };

    // Marks which advice on strength holds for the prompt as it is.
    const advise = (text) => {
        const tags = text.match(/<(?:lora|lyco):[^>]+>/gi) ?? [];
        const strong = tags.length === 1 && strength([0, 0, 0, tags[0].slice(0, -1).replace(/^<\w+:[^:]*/, '')]).number >= 1;
        const now = tags.length > 1 ? 'several' : strong ? 'strong' : tags.length ? 'one' : '';
        for (const each of document.querySelectorAll('[data-dose]')) each.classList.toggle('now', each.dataset.dose === now);
    };

    const showLive = () => {
        const button = document.querySelector('.switch-live'), on = document.querySelector('#generate-live input')?.checked;
        if (!button || on === undefined) return;
        const words = on ? button.dataset.off : button.dataset.on;
        if (button.textContent !== words) button.textContent = words;
        button.setAttribute('aria-pressed', on);
        button.closest('.adapter').classList.toggle('in-use', on);
    };

    // What was typed or moved on a card and which cards stand open, because cards are drawn anew when the library changes.
    const drafts = new Map(), open = new Map();
    let keptScroll = 0;
    const draftKey = (field) => `${field.closest('.adapter').dataset.name}\n${field.dataset.field ?? 'strength'}`;
    const restore = (card) => {
        for (const field of card.querySelectorAll('[data-field], .strength')) {
            if (drafts.has(draftKey(field))) field.value = drafts.get(draftKey(field));
        }
        const details = card.querySelector('details');
        if (details && open.has(card.dataset.name)) details.open = open.get(card.dataset.name);
        card.dataset.ready = '';
    };

    const sync = () => {
        const text = box('prompt')?.value ?? '';
        for (const card of document.querySelectorAll('.adapter[data-calls]')) {
            if (!('ready' in card.dataset)) restore(card);
            show(card, text);
        }
        const list = document.querySelector('#generate-loras .adapters');
        if (list && keptScroll) [list.scrollTop, keptScroll] = [keptScroll, 0];
        advise(text);
        showLive();
    };

    // Names of the cards whose trigger words were parted from what follows by a comma of ours.
    const commas = new Set();
    const add = (card) => {
        const prompt = box('prompt'), negative = box('negative_prompt'), { name, trigger, negative: unwanted } = card.dataset;
        const lacks = (field, words) => words && !field.value.toLowerCase().includes(words.toLowerCase());
        const value = Number(card.querySelector('.strength').value);
        if (negative && lacks(negative, unwanted)) put(negative, (negative.value.trim() && ', ') + unwanted, negative.value.trimEnd().length, negative.value.length);
        const more = /^\s*[^\s,)]/.test(prompt.value.slice(cursor(prompt)));
        more ? commas.add(name) : commas.delete(name);
        insert(prompt, `<lora:${name}:${value}>` + (lacks(prompt, trigger) ? ` ${trigger}${more ? ',' : ''}` : ''), false);
    };

    // Takes out the tag with what `add` wrote behind it.
    const remove = (card, found) => {
        const prompt = box('prompt'), negative = box('negative_prompt'), { name, trigger, negative: unwanted } = card.dataset;
        const at = negative && unwanted ? negative.value.lastIndexOf(unwanted) : -1;
        if (at >= 0) {
            const start = negative.value.slice(0, at).replace(/[\s,]+$/, '').length;
            put(negative, '', start, at + unwanted.length);
        }
        let end = found.index + found[0].length;
        if (trigger && prompt.value.slice(end).startsWith(' ' + trigger)) {
            end += trigger.length + 1;
            if (prompt.value[end] === ',' && commas.has(name)) end += 1;
        }
        const before = prompt.value.slice(0, found.index).trimEnd(), rest = prompt.value.slice(end);
        const start = rest.trim() ? before.length : before.replace(/[\s,]+$/, '').length;
        const next = rest.search(/[^\s,]/), stop = next < 0 ? prompt.value.length : /(^|,)$/.test(before) ? end + next : end + rest.search(/\S/);
        put(prompt, start && next >= 0 && prompt.value[stop] !== ',' ? ' ' : '', start, stop);
    };

    const rename = (button) => {
        const prompt = box('prompt'), { instead, name } = button.dataset;
        const found = new RegExp(`<(lora|lyco):\\s*${escaped(instead)}\\s*(?=[:>])`, 'gi');
        put(prompt, prompt.value.replace(found, (_, kind) => `<${kind}:${name}`), 0, prompt.value.length);
    };

    // What a click on something with this class or attribute does.
    const CLICKS = {
        '.insert': (button) => {
            const card = button.closest('.adapter'), found = calling(box('prompt').value, names(card));
            found ? remove(card, found) : add(card);
        },
        '.adapter .chip': (button) => insert(box('prompt'), button.textContent.replace(/[()[\]\\]/g, '\\$&'), true),
        '[data-instead]': rename,
        '.switch-live': () => document.querySelector('#generate-live input')?.click(),
        '[data-verb="more"]': () => { keptScroll = document.querySelector('#generate-loras .adapters')?.scrollTop ?? 0; },
        '[data-verb="save"]': (button) => {
            for (const field of button.closest('.adapter').querySelectorAll('[data-field]')) drafts.delete(draftKey(field));
        },
    };

    document.addEventListener('click', (event) => {
        if (!box('prompt')) return;
        for (const [selector, act] of Object.entries(CLICKS)) {
            const button = event.target.closest?.(selector);
            if (button) act(button);
        }
        sync();
    });

    document.addEventListener('toggle', (event) => {
        const card = event.target.closest?.('.adapter[data-name]');
        if (card && event.target.parentElement === card && 'ready' in card.dataset) open.set(card.dataset.name, event.target.open);
    }, true);

    document.addEventListener('input', (event) => {
        const target = event.target, prompt = box('prompt');
        if (!prompt) return;
        const slider = target.classList?.contains('strength');
        if (slider || (target.dataset?.field && target.closest('.adapter'))) drafts.set(draftKey(target), target.value);
        if (slider) {
            const found = calling(prompt.value, names(target.closest('.adapter')));
            if (found) {
                prompt.setRangeText(withStrength(found, Number(target.value)), found.index, found.index + found[0].length);
                prompt.dispatchEvent(new Event('input', { bubbles: true }));
            }
            sync();
        } else if (target === prompt) {
            sync();
        }
    });

    // The address of the finished picture that is looked at, with the adapters where there are two.
    window.atelier.pictureShown = () => {
        const places = ['#generate-compare-view img', '#generate-gallery .preview .media-button img', '#generate-gallery img'];
        const found = places.map((place) => Array.from(document.querySelectorAll(place)).filter((each) => each.getClientRects().length));
        return found.find((each) => each.length)?.at(-1)?.src ?? '';
    };

    // Cards are drawn anew when the library changes, and the prompt may be filled by the server.
    let pending = false;
    const later = () => {
        if (pending) return;
        pending = true;
        setTimeout(() => { pending = false; sync(); }, 150);
    };
    document.addEventListener('DOMContentLoaded', () => new MutationObserver(later).observe(document.body, { childList: true, subtree: true }));
})();

// Runs before Gradio: the chosen language and colours. After it: keys, and the buttons on adapter cards.
(() => {
    const LANGUAGE = 'atelier_language', THEME = 'atelier_theme';
    const cookie = (name) => (document.cookie.match(new RegExp('(?:^|; )' + name + '=([^;]*)')) || [])[1] || '';

    const remember = (name, value) => {
        document.cookie = `${name}=${value === 'auto' ? '' : value}; path=/; SameSite=Strict; max-age=${value === 'auto' ? 0 : 31536000}`;
    };

    // Gradio asks the browser for its language. The server reads the same cookie, so both halves of the page agree.
    const chosen = cookie(LANGUAGE) || window.atelierForced;
    const known = (navigator.languages || [navigator.language]).map((each) => each.slice(0, 2)).find((each) => each === 'ja' || each === 'en');
    const language = chosen || known || 'en';
    Object.defineProperty(navigator, 'language', { get: () => language, configurable: true });
    Object.defineProperty(navigator, 'languages', { get: () => [language], configurable: true });
    document.documentElement.lang = language;

    const address = new URL(location.href);
    const theme = cookie(THEME);
    if (theme && !address.searchParams.has('__theme')) {
        address.searchParams.set('__theme', theme);
        history.replaceState(null, '', address);
    }

    let press = '', pressed = 0;
    window.atelier = {
        // A double click is one press.
        press: () => {
            const now = Date.now();
            if (now - pressed > 1500) press = Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, '0')).join('');
            pressed = now;
            return press;
        },
        setLanguage: (code) => {
            remember(LANGUAGE, code);
            location.reload();
        },
        setTheme: (name) => {
            remember(THEME, name);
            const next = new URL(location.href);
            next.searchParams.delete('__theme');
            location.replace(next);
        },
    };

    const promptBox = () => document.querySelector('#generate-prompt textarea');
    const write = (box, text, caret) => {
        Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(box, text);
        box.dispatchEvent(new Event('input', { bubbles: true }));
        box.focus();
        box.setSelectionRange(caret, caret);
    };
    const tagOf = (name) => new RegExp('<(?:lora|lyco):' + name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') + '(?::[^>]*)?>', 'i');

    // A card is "in use" when its tag stands in the prompt; then its slider moves the number in the tag.
    const sync = () => {
        const text = promptBox()?.value ?? '';
        for (const card of document.querySelectorAll('.adapter[data-name]')) {
            const found = text.match(tagOf(card.dataset.name));
            const button = card.querySelector('.insert');
            card.classList.toggle('in-use', Boolean(found));
            button.textContent = found ? button.dataset.remove : button.dataset.add;
            const number = found && Number((found[0].slice(1, -1).split(':')[2] ?? '1'));
            if (found && Number.isFinite(number)) {
                card.querySelector('.strength').value = number;
                card.querySelector('output').textContent = number.toFixed(2);
            }
        }
    };

    document.addEventListener('click', (event) => {
        const button = event.target.closest?.('.insert');
        const box = promptBox();
        if (!button || !box) return;
        const card = button.closest('.adapter');
        const { name, trigger } = card.dataset;
        const found = box.value.match(tagOf(name));
        if (found) {
            const before = box.value.slice(0, found.index).replace(/[ ,]+$/, ' ');
            write(box, (before + box.value.slice(found.index + found[0].length).replace(/^[ ]+/, '')).trim(), before.length);
        } else {
            const strength = Number(card.querySelector('.strength').value);
            const words = trigger && !box.value.toLowerCase().includes(trigger.toLowerCase()) ? ' ' + trigger : '';
            const at = document.activeElement === box || box.selectionStart ? box.selectionStart : box.value.length;
            const space = at && !/\s$/.test(box.value.slice(0, at)) ? ' ' : '';
            const piece = `${space}<lora:${name}:${strength}>${words}`;
            write(box, box.value.slice(0, at) + piece + box.value.slice(at), at + piece.length);
        }
        sync();
    });

    document.addEventListener('input', (event) => {
        const target = event.target;
        if (target.classList?.contains('strength')) {
            const card = target.closest('.adapter');
            const box = promptBox();
            card.querySelector('output').textContent = Number(target.value).toFixed(2);
            const found = box?.value.match(tagOf(card.dataset.name));
            if (found) {
                const kind = found[0].slice(1, 5);
                const caret = box.selectionStart;
                write(box, box.value.replace(found[0], `<${kind}:${card.dataset.name}:${Number(target.value)}>`), caret);
                target.focus();
            }
        } else if (target === promptBox()) {
            sync();
        }
    });

    // Ctrl+Enter or Cmd+Enter makes the picture from anywhere in the Generate tab; Enter that ends an IME composition does not count.
    document.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing || event.keyCode === 229 || event.repeat) return;
        const button = document.querySelector('#generate-start');
        if (button?.offsetParent) {
            event.preventDefault();
            button.click();
        }
    }, true);

    // Cards are drawn anew when the library changes, and the prompt may be filled by the server.
    let pending = false;
    const later = () => {
        if (pending) return;
        pending = true;
        setTimeout(() => { pending = false; sync(); }, 150);
    };
    document.addEventListener('DOMContentLoaded', () => new MutationObserver(later).observe(document.body, { childList: true, subtree: true }));
})();

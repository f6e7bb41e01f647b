// Runs before Gradio: the chosen language and colours. After it: keys.
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

    // What closes with Esc itself: an open list, a dialog, a picture over the whole page.
    const OVER = '[role="listbox"], dialog[open], [role="dialog"], .fullscreen';
    const seen = (selector) => Array.from(document.querySelectorAll(selector)).find((each) => each.getClientRects().length);

    // Ctrl+Enter or Cmd+Enter makes the picture from anywhere in the Generate tab and Esc stops it. Keys that an IME takes do not count:
    // Enter accepts what it composes, Esc throws it away.
    document.addEventListener('keydown', (event) => {
        if (event.isComposing || event.keyCode === 229 || event.repeat) return;
        const make = event.key === 'Enter' && (event.ctrlKey || event.metaKey);
        const stop = event.key === 'Escape' && !document.fullscreenElement && !seen(OVER);
        const button = make ? seen('#generate-start') : stop ? seen('#generate-stop, #grid-stop') : null;
        if (!button) return;
        event.preventDefault();
        button.click();
    }, true);
})();

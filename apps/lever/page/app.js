// SPDX-License-Identifier: MIT
// Joins the parts: the talk, the cycles that come with an answer, and the instruments that show them.
import { Trouble, answer, status } from './stream.js';
import { AnswerMessage, userMessage } from './message.js';
import { TreeView } from './tree.js';
import { counts, drawSpark, drawStrip, showStatus, showTimes, stripIndex, stripWidth } from './panel.js';
import {
    download, initSettings, keep, load, local, openSettings, requestFor, session, settings, talkAsJson,
    talkAsMarkdown,
} from './settings.js';
import { example } from './example.js';

const $ = id => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const most_cycles = 400; // trees that are kept to look at

const talk = { messages: load(session, 'talk', []), model: '', abort: null, answer: null };
const view = {
    cycles: [], count: 0, tail: '', // kept ones, all ever seen, the text that they made last
    at: null, live: true, held: false, replay: 0, // the cycle shown, and why it is that one
    fresh: false, drawn: 0, due: 0, // something to draw; when was it drawn last; the frame that will
    stick: true, // the talk follows its end
};
const tree = new TreeView($('stage'), $('tip'), (on, focus) => {
    view.held = on && !focus;
    if (on && focus) follow(false);
    showLive();
    if (!on) refresh();
});

// ---- cycles

function addCycle(cycle) {
    if (!Array.isArray(cycle.nodes) || !cycle.nodes.length) return;
    cycle.count = counts(cycle);
    cycle.before = view.tail;
    cycle.number = ++view.count; // the server's own count goes on from other talks
    const accepted = cycle.nodes.filter(n => n.state === 'accepted').map(n => n.text).join('');
    view.tail = (view.tail + accepted + (cycle.next?.text ?? '')).slice(-160);
    view.cycles.push(cycle);
    if (view.cycles.length > most_cycles) {
        const gone = view.cycles.shift();
        if (view.at === gone) view.at = view.cycles[0];
    }
    if (view.live && !view.held) view.at = cycle;
    view.fresh = true;
}

function follow(on) {
    view.live = on;
    if (on) {
        stopReplay();
        view.at = view.cycles.at(-1) ?? view.at;
    }
    showLive();
}

function showLive() {
    $('live').setAttribute('aria-pressed', view.live);
    $('live-label').textContent = !view.live ? 'Paused' : view.held && talk.answer ? 'Held' : 'Live';
}

function select(index, grow) {
    const i = Math.min(Math.max(index, 0), view.cycles.length - 1);
    if (i < 0) return;
    if (view.live) follow(false);
    view.at = view.cycles[i];
    showCycle(grow);
}

const selected = () => view.cycles.indexOf(view.at);

function stopReplay() {
    clearInterval(view.replay);
    view.replay = 0;
    $('replay').setAttribute('aria-pressed', 'false');
    $('replay').textContent = 'Replay';
}

/** One cycle after another, slowly enough to see each tree grow. */
function toggleReplay() {
    if (view.replay) return stopReplay();
    if (!view.cycles.length) return;
    const begin = selected() >= view.cycles.length - 1 ? 0 : selected();
    select(begin, true);
    view.replay = setInterval(() => {
        if (selected() >= view.cycles.length - 1) stopReplay();
        else select(selected() + 1, true);
    }, 1800);
    $('replay').setAttribute('aria-pressed', 'true');
    $('replay').textContent = 'Stop';
}

function showTicker(cycle) {
    const [before, inner, now] = ['span', 'bdi', 'span'].map(name => document.createElement(name));
    before.className = 'before';
    now.className = 'now';
    inner.textContent = (cycle.before || '').replace(/\s+/g, ' ');
    before.append(inner);
    const piece = (text, source) => {
        const span = document.createElement('span');
        span.className = `o-${source}`;
        span.textContent = String(text).replace(/\n/g, '⏎');
        now.append(span);
    };
    for (const n of cycle.nodes) {
        if (n.state === 'accepted') piece(n.text, n.source === 'lookup' ? 'lookup' : 'draft');
    }
    if (cycle.next) piece(cycle.next.text ?? '', 'target');
    $('ticker').replaceChildren(before, now);
}

function showCycle(grow) {
    const c = view.at;
    if (!c) return;
    view.drawn = performance.now();
    tree.show(c, grow && !calm.matches);
    showTicker(c);
    showTimes(c);
    const n = view.cycles.length, i = selected();
    const facts = `${c.nodes.length - 1} guessed, ${c.new} new ${c.new === 1 ? 'token' : 'tokens'}`;
    $('tree-title').textContent = c.example ? 'Token tree (example)' : `Token tree of cycle ${c.number}`;
    $('tree-sum').textContent = facts;
    $('prev').disabled = i <= 0;
    $('next').disabled = i < 0 || i >= n - 1;
    const scrub = $('scrub');
    scrub.disabled = n < 2;
    scrub.max = Math.max(n - 1, 0);
    scrub.value = Math.max(i, 0);
    scrub.style.width = `${stripWidth(n)}px`;
    scrub.setAttribute('aria-valuetext', n ? `${i + 1} of ${n}: ${facts}` : 'none yet');
    drawStrip(view.cycles, i);
    if (n) {
        const tokens = view.cycles.reduce((sum, cycle) => sum + cycle.new, 0);
        $('strip-sum').textContent =
            `${(tokens / n).toFixed(2)} on average over ${n === most_cycles ? 'the last ' : ''}${n} cycles`;
    }
}

// ---- drawing at the pace of the eye, not of the server

function refresh() {
    if (!view.due) view.due = requestAnimationFrame(draw);
}

function draw(now) {
    view.due = 0;
    if (talk.answer) {
        talk.answer.render();
        if (view.stick) $('log').scrollTop = $('log').scrollHeight;
    }
    if (!view.fresh) return;
    if (now - view.drawn < (calm.matches ? 700 : 130)) return setTimeout(refresh, 60);
    view.fresh = false;
    if (view.live && !view.held) view.at = view.cycles.at(-1);
    if (!view.live || view.held) { // the tree stands still; what counts cycles goes on
        view.fresh = view.held; // to be drawn when the pointer leaves
        $('scrub').max = view.cycles.length - 1;
        $('scrub').value = selected();
        $('next').disabled = selected() >= view.cycles.length - 1;
        return drawStrip(view.cycles, selected());
    }
    showCycle(false);
}

// ---- talk

function notice(text, retry) {
    $('notice').hidden = !text;
    $('notice-text').textContent = text;
    $('retry').hidden = !retry;
}

const say = text => { $('said').textContent = text; };

function busy(on) {
    document.body.classList.toggle('busy', on);
    $('send-label').textContent = on ? 'Stop' : 'Send';
    $('send').title = on ? 'Stop (Esc)' : 'Send';
}

function remember() {
    keep(session, 'talk', talk.messages.map(({ element, ...said }) => said));
    $('export').disabled = !talk.messages.length;
}

function factsOf(run, end) {
    const seconds = (run.last - run.first) / 1000, tokens = end?.usage?.completion_tokens ?? run.tokens;
    const facts = [tokens ? `${tokens} tokens` : ''];
    const speed = end?.lever?.decode_tokens_per_s ?? (seconds > 0 ? run.tokens / seconds : 0);
    if (speed > 0) facts.push(`${speed >= 100 ? Math.round(speed) : speed.toPrecision(2)} tokens/s`);
    if (run.cycles > 1) facts.push(`${(run.tokens / (run.cycles - 1)).toFixed(2)} tokens per pass`);
    if (end?.finish === 'length') facts.push('ended at its length limit');
    if (!end) facts.push('not complete');
    return facts.filter(Boolean).join(' · ');
}

function send(text) {
    if (talk.messages.at(-1)?.role === 'user') talk.messages.pop().element.remove(); // it got no answer
    $('empty').hidden = true;
    talk.messages.push({ role: 'user', content: text, element: userMessage($('log'), text) });
    return generate();
}

async function generate() {
    notice('');
    const shownAnswer = new AnswerMessage($('log')), abort = new AbortController();
    const run = { tokens: 0, cycles: 0, first: 0, last: 0 }; // tokens: but those of the first cycle
    Object.assign(talk, { answer: shownAnswer, abort });
    Object.assign(view, { stick: true, tail: '' });
    shownAnswer.begin();
    busy(true);
    say('Answering');
    refresh();
    let end = null, trouble = null;
    try {
        end = await answer(requestFor(talk.messages, talk.model), settings.key, abort.signal, {
            text: more => { shownAnswer.addText(more); refresh(); },
            reasoning: more => { shownAnswer.addReasoning(more); refresh(); },
            cycle: cycle => {
                run.last = performance.now();
                if (run.cycles++ === 0) run.first = run.last;
                else run.tokens += cycle.new;
                shownAnswer.addCycle(cycle);
                addCycle(cycle);
                refresh();
            },
        });
    } catch (e) {
        if (e instanceof Trouble) trouble = e;
        else if (e.name !== 'AbortError') trouble = new Trouble(`Something failed in the page: ${e.message}`);
    }
    if (talk.answer === shownAnswer) finish(shownAnswer, run, end, trouble);
}

function finish(shownAnswer, run, end, trouble) {
    Object.assign(talk, { answer: null, abort: null });
    busy(false);
    showLive();
    const facts = factsOf(run, end);
    shownAnswer.end(facts);
    if (shownAnswer.text || shownAnswer.reasoning || end) {
        const { text, reasoning, root } = shownAnswer;
        talk.messages.push({ role: 'assistant', content: text, reasoning, facts, element: root });
    } else shownAnswer.root.remove();
    remember();
    if (view.stick) $('log').scrollTop = $('log').scrollHeight;
    if (view.live) view.at = view.cycles.at(-1) ?? view.at;
    if (view.cycles.length) showCycle(false);
    say(trouble ? trouble.message : end ? `Answer complete. ${facts}` : 'Stopped');
    if (!trouble) return;
    notice(trouble.message, true);
    if (trouble.kind === 'key') openSettings(true);
}

function stop() { talk.abort?.abort(); }

function retry() {
    if (talk.answer) return;
    if (talk.messages.at(-1)?.role === 'assistant') talk.messages.pop().element.remove();
    if (talk.messages.length) generate();
}

function newTalk() {
    stop();
    for (const m of talk.messages) m.element.remove();
    talk.answer?.root.remove();
    Object.assign(talk, { messages: [], answer: null });
    busy(false);
    notice('');
    $('empty').hidden = false;
    remember();
    $('prompt').focus();
}

function restore() {
    if (!Array.isArray(talk.messages)) talk.messages = [];
    for (const m of talk.messages) {
        if (m.role === 'user') m.element = userMessage($('log'), m.content);
        else {
            const a = new AnswerMessage($('log'));
            if (m.reasoning) a.addReasoning(m.reasoning);
            a.addText(m.content);
            a.end(m.facts ?? '');
            m.element = a.root;
        }
    }
    $('empty').hidden = talk.messages.length > 0;
    $('log').scrollTop = $('log').scrollHeight;
    remember();
}

// ---- the frame

const views = document.querySelectorAll('[data-show]');
let status_timer = 0;

async function poll() {
    clearTimeout(status_timer);
    if (document.hidden) return;
    let wait = 1000;
    try {
        const s = await status(settings.key);
        talk.model = s.model ?? '';
        showStatus(s);
        document.querySelector('.top').removeAttribute('data-lost');
    } catch (e) {
        $('model').textContent = e.kind === 'key' ? 'an API key is needed' : e.message;
        document.querySelector('.top').setAttribute('data-lost', '');
        wait = 3000;
    }
    clearTimeout(status_timer);
    status_timer = setTimeout(poll, wait);
}

function show(name) {
    document.body.dataset.view = name;
    for (const b of views) b.setAttribute('aria-pressed', b.dataset.show === name);
    redraw();
}

function redraw() {
    if (view.stick) $('log').scrollTop = $('log').scrollHeight;
    drawSpark();
    if (view.at) showCycle(false);
}

function switchTheme() {
    const theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    keep(local, 'theme', theme);
    redraw();
}

function showOrigins(on) {
    document.body.classList.toggle('origins', on);
    $('origins').setAttribute('aria-pressed', on);
    $('origins').textContent = on ? 'Hide origins' : 'Show origins';
    keep(local, 'origins', on);
}

function fitPrompt() {
    const p = $('prompt');
    p.style.height = 'auto';
    p.style.height = `${Math.max(40, p.scrollHeight)}px`;
}

function submit() {
    if (talk.answer) return stop();
    const text = $('prompt').value.trim();
    if (!text) return $('prompt').focus();
    $('prompt').value = '';
    fitPrompt();
    send(text);
}

function exportTalk(kind) {
    const stamp = new Date().toISOString().slice(0, 16).replace(/[T:]/g, '-');
    const json = kind === 'json', text = (json ? talkAsJson : talkAsMarkdown)(talk.messages, talk.model);
    download(`talk-${stamp}.${kind}`, json ? 'application/json' : 'text/markdown', text);
    $('exporter').close();
}

function listen() {
    const on = (id, event, f) => $(id).addEventListener(event, f);
    on('composer', 'submit', e => { e.preventDefault(); submit(); });
    on('prompt', 'input', fitPrompt);
    on('prompt', 'keydown', e => {
        if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
        e.preventDefault();
        if (!talk.answer) submit();
    });
    addEventListener('keydown', e => {
        if (e.key === 'Escape' && talk.answer && !document.querySelector('dialog[open]')) stop();
    });
    on('log', 'scroll', e => {
        const { scrollHeight, scrollTop, clientHeight } = e.target;
        view.stick = scrollHeight - scrollTop - clientHeight < 48;
    });
    on('retry', 'click', retry);
    on('new', 'click', newTalk);
    on('theme', 'click', switchTheme);
    on('origins', 'click', () => showOrigins(!document.body.classList.contains('origins')));
    on('export', 'click', () => $('exporter').showModal());
    on('export-json', 'click', () => exportTalk('json'));
    on('export-md', 'click', () => exportTalk('md'));
    on('live', 'click', () => { follow(!view.live); showCycle(false); });
    on('prev', 'click', () => { stopReplay(); select(selected() - 1); });
    on('next', 'click', () => { stopReplay(); select(selected() + 1, true); });
    on('replay', 'click', toggleReplay);
    on('scrub', 'input', e => { stopReplay(); select(Number(e.target.value)); });
    on('strip', 'click', e => { stopReplay(); select(stripIndex(e.offsetX)); });
    on('about', 'toggle', () => keep(local, 'about', $('about').open));
    for (const b of document.querySelectorAll('#ideas button')) {
        b.addEventListener('click', () => { if (!talk.answer) send(b.textContent); });
    }
    for (const b of views) b.addEventListener('click', () => show(b.dataset.show));
    document.addEventListener('visibilitychange', poll);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', e => {
        if (load(local, 'theme', '')) return;
        document.documentElement.dataset.theme = e.matches ? 'dark' : 'light';
        redraw();
    });
    let resized = 0;
    addEventListener('resize', () => { clearTimeout(resized); resized = setTimeout(redraw, 100); });
}

listen();
initSettings(poll);
showOrigins(load(local, 'origins', true));
$('about').open = load(local, 'about', true);
restore();
showTimes(null);
view.at = example;
redraw();
poll();
if (!matchMedia('(pointer: coarse)').matches) $('prompt').focus();

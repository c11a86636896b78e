extension HomePage {
    /// Nothing that a model or a server says becomes anything but text.
    static let script = #"""
        'use strict';
        const $ = id => document.getElementById(id);
        const place = 'glim.chat';
        const settings = ['thinks', 'temperature', 'most'];
        const number = new Intl.NumberFormat('en');
        let chat = { messages: [], settings: {} };
        let model = '';
        // Of the server, where it wants one; it goes with the tab.
        let key = sessionStorage.getItem('glim.key') ?? '';
        // What ends the reply that is on its way.
        let running = null;
        let isLeft = false;

        // MARK: What is kept

        function keep() {
          for (const id of settings) chat.settings[id] = $(id).type === 'checkbox' ? $(id).checked : $(id).value;
          try { localStorage.setItem(place, JSON.stringify(chat)); } catch { say('this browser keeps nothing'); }
        }

        function recall() {
          try {
            const kept = JSON.parse(localStorage.getItem(place));
            if (Array.isArray(kept?.messages)) chat = { messages: kept.messages, settings: kept.settings ?? {} };
          } catch { /* What cannot be read is begun anew. */ }
          for (const id of settings) {
            if (chat.settings[id] === undefined) continue;
            if ($(id).type === 'checkbox') $(id).checked = chat.settings[id]; else $(id).value = chat.settings[id];
          }
          for (const message of chat.messages) {
            if (message.isOpen) { message.isOpen = false; message.note = 'cut off when the page was left'; }
            show(message);
          }
          greet();
          bottom();
        }

        // MARK: Talking with the server

        function say(text) { $('state').textContent = text; }

        async function call(path, options = {}) {
          const headers = { 'content-type': 'application/json' }, sent = key;
          if (sent) headers.authorization = 'Bearer ' + sent;
          const response = await fetch(path, { ...options, headers });
          if (response.status === 401 && sent === key) $('keyForm').hidden = false;
          if (response.ok) return response;
          const problem = await response.json().catch(() => null);
          throw new Error(problem?.error?.message ?? 'the server answers with ' + response.status);
        }

        /** The lines of a stream of events, comments among them. */
        async function* lines(response) {
          const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
          let rest = '';
          for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            const found = (rest + value).split('\n');
            rest = found.pop();
            yield* found;
          }
        }

        async function reply(message) {
          const earlier = chat.messages.slice(0, -1).filter(m => m.role === 'user' || m.content);
          const body = {
            model, stream: true, stream_options: { include_usage: true },
            messages: earlier.map(m => m.role === 'user' || !m.reasoning
              ? { role: m.role, content: m.content }
              : { role: m.role, content: m.content, reasoning_content: m.reasoning }),
            thinking: { type: $('thinks').checked ? 'enabled' : 'disabled' },
            temperature: $('temperature').valueAsNumber, max_tokens: $('most').valueAsNumber,
          };
          const began = performance.now();
          let first = null, usage = null, ending = null;
          const response = await call('/v1/chat/completions', {
            method: 'POST', body: JSON.stringify(body), signal: running.signal,
          });
          for await (const line of lines(response)) {
            if (line.startsWith(':')) { message.note = line.slice(2); show(message); continue; }
            if (!line.startsWith('data: ')) continue;
            const data = line.slice(6);
            if (data === '[DONE]') break;
            const json = JSON.parse(data);
            if (json.error) throw new Error(json.error.message);
            usage = json.usage ?? usage;
            const choice = json.choices[0];
            if (!choice) continue;
            const delta = choice.delta;
            if (delta.content || delta.reasoning_content) first ??= performance.now();
            message.content += delta.content ?? '';
            message.reasoning += delta.reasoning_content ?? '';
            ending = choice.finish_reason ?? ending;
            message.note = '';
            soon(message);
          }
          message.note = told(usage, ending, first === null ? 0 : first - began, performance.now() - (first ?? began));
        }

        /** How a reply went: its speed, and what of its prompt was known. */
        function told(usage, ending, wait, rest) {
          const words = [];
          if (usage) {
            const count = usage.completion_tokens, details = usage.prompt_tokens_details ?? {};
            words.push(number.format(count) + (count === 1 ? ' token' : ' tokens'));
            if (count > 1) words.push(((count - 1) / rest * 1000).toFixed(1) + ' a second');
            words.push('first after ' + (wait / 1000).toFixed(2) + ' s');
            words.push(number.format(details.cached_tokens ?? 0) + ' of ' + number.format(usage.prompt_tokens)
              + ' prompt tokens known');
            // The last token is read in any case.
            if (details.divergence != null && details.divergence < usage.prompt_tokens - 1) {
              words.push('new from token ' + number.format(details.divergence));
            }
          }
          if (ending === 'length') words.push('as many tokens as were allowed');
          return words.join(' · ');
        }

        async function send() {
          const text = $('text').value;
          if (running || !text.trim()) return;
          const question = { role: 'user', content: text };
          const message = { role: 'assistant', content: '', reasoning: '', note: '', isOpen: true };
          for (const earlier of unanswered.splice(0)) shown.get(earlier).card.remove();
          chat.messages.push(question, message);
          $('text').value = '';
          greet();
          show(question);
          show(message);
          bottom();
          keep();
          running = new AbortController();
          look();
          const timer = setInterval(keep, 500);
          try { await reply(message); } catch (error) {
            // A page that is left loses its requests: that is no word on this one. It stays kept as open.
            if (isLeft) return;
            message.note = running.signal.aborted ? 'stopped' : error.message;
            message.isBad = !running.signal.aborted;
            if (message.isBad && !message.content && !message.reasoning) $('text').value ||= text;
          }
          clearInterval(timer);
          message.isOpen = false;
          // A question that was not answered is none.
          if (message.isBad && !message.content && !message.reasoning) {
            unanswered.push(...chat.messages.splice(-2));
            say('');
          }
          running = null;
          show(message);
          look();
          keep();
          $('text').focus();
        }

        // MARK: What is seen of it

        const shown = new WeakMap();
        // What can still be read though it is no part of the chat: a question that failed, and why.
        const unanswered = [];

        function made(kind, name, parent) {
          const element = document.createElement(kind);
          if (name) element.className = name;
          parent.append(element);
          return element;
        }

        function show(message) {
          const log = $('log'), isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
          let view = shown.get(message);
          if (!view) {
            const card = made('article', message.role, log);
            const details = made('details', '', card);
            made('summary', '', details).textContent = 'Reasoning';
            view = {
              card, details, reasoning: made('div', 'reasoning', details), content: made('div', 'content', card),
              note: made('p', 'note', card),
            };
            shown.set(message, view);
          }
          view.details.hidden = !message.reasoning;
          // It is open while there is nothing else to read, and then as its reader leaves it.
          if (message.isOpen && message.reasoning && !message.content) view.details.open = true;
          if (message.content && !view.hasBegun) { view.hasBegun = true; view.details.open = false; }
          view.reasoning.textContent = message.reasoning ?? '';
          view.content.textContent = message.content;
          view.note.textContent = message.note ?? '';
          view.note.hidden = !message.note;
          view.note.classList.toggle('bad', !!message.isBad);
          view.card.classList.toggle('open', !!message.isOpen);
          if (isAtEnd) bottom();
        }

        // Tokens come faster than pictures: a message is laid out once for each picture.
        let waiting = null;

        function soon(message) {
          waiting ??= requestAnimationFrame(() => { waiting = null; show(message); });
        }

        /** What stands where a chat will be. */
        function greet() {
          $('greeting')?.remove();
          if (chat.messages.length > 0 || $('log').children.length > 0) return;
          const view = made('div', '', $('log'));
          view.id = 'greeting';
          made('p', '', view).textContent = 'Talk with ' + (model || 'the model');
          made('p', 'note', view).textContent = 'The chat is kept in this browser, and nowhere else.';
        }

        function bottom() { $('log').scrollTop = $('log').scrollHeight; }

        function look() {
          $('send').hidden = !!running;
          $('stop').hidden = !running;
          $('clear').disabled = !!running;
        }

        // MARK: How the server fares

        const history = [];
        let before = null;

        function metrics(text) {
          const found = {};
          for (const line of text.split('\n')) {
            const at = line.lastIndexOf(' ');
            if (at > 0 && !line.startsWith('#')) found[line.slice(5, at)] = Number(line.slice(at + 1));
          }
          return found;
        }

        function list(id, all) {
          const view = $(id), pairs = all.filter(Boolean), names = pairs.map(([name]) => name).join();
          if (view.dataset.names !== names) {
            view.dataset.names = names;
            view.replaceChildren();
            for (const [name] of pairs) { made('dt', '', view).textContent = name; made('dd', '', view); }
          }
          pairs.forEach(([, value], i) => { view.children[2 * i + 1].textContent = value; });
        }

        const rate = value => value.toFixed(value < 10 ? 1 : 0) + '/s';
        const share = (part, all) => all > 0 ? (100 * part / all).toFixed(0) + '%' : '–';
        const mean = (m, name) => m[name + '_count'] > 0
          ? (m[name + '_sum'] / m[name + '_count']).toFixed(2) + ' s' : '–';

        function size(bytes) {
          const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
          let i = 0;
          while (bytes >= 1024 && i < units.length - 1) { bytes /= 1024; i += 1; }
          return bytes.toFixed(i && bytes < 100 ? 1 : 0) + ' ' + units[i];
        }

        async function measure() {
          const m = metrics(await (await call('/metrics')).text());
          const now = performance.now(), seconds = before ? (now - before.now) / 1000 : 0;
          const since = name => before && seconds > 0 ? Math.max(0, m[name] - before.m[name]) / seconds : 0;
          const drawn = since('tokens_drawn_total');
          history.push({ now, drawn });
          while (history.length > 2 && now - history[0].now > 120000) history.shift();
          // What this server has not done takes no room: drafts, pages on disk, weights that changed.
          list('speed', [
            ['Tokens drawn', rate(drawn)], ['Tokens read', rate(since('tokens_read_total'))],
            ['Requests drawing, open', m.requests_decoding + ', ' + (m.requests_active + m.requests_waiting)],
            ['First token after, mean', mean(m, 'first_token_seconds')],
            ['Whole reply, mean', mean(m, 'reply_seconds')],
            m.drafts_tried_total > 0
              && ['Drafts that were right', share(m.drafts_accepted_total, m.drafts_tried_total)],
            m.weights_version > 0 && ['Weights, version', m.weights_version],
          ]);
          list('cache', [
            ['Pages in use', number.format(m.cache_pages_used)], ['Pages kept', number.format(m.cache_pages_kept)],
            ['Pages at most', number.format(m.cache_pages)], ['Memory taken', size(m.cache_bytes)],
            ['Prompt tokens known', share(m.prefix_tokens_found_total, m.prefix_tokens_asked_total)],
            m.pages_evicted_total > 0 && ['Pages let go', number.format(m.pages_evicted_total)],
            m.pages_stored_total + m.pages_restored_total > 0 && ['Pages to disk, from disk',
              number.format(m.pages_stored_total) + ', ' + number.format(m.pages_restored_total)],
            m.preemptions_total > 0 && ['Had to read again', number.format(m.preemptions_total)],
          ]);
          // What there is can be seen, be it ever so little of the whole.
          for (const [id, pages] of [['used', m.cache_pages_used], ['kept', m.cache_pages_kept]]) {
            $(id).style.width = pages > 0 ? 'max(3px, ' + 100 * pages / m.cache_pages + '%)' : '0';
          }
          const [used, kept] = [m.cache_pages_used, m.cache_pages_kept].map(pages => share(pages, m.cache_pages));
          $('bar').setAttribute('aria-label', used + ' in use, ' + kept + ' kept');
          draw(now);
          before = { now, m };
        }

        function draw(now) {
          const most = Math.max(1, ...history.map(h => h.drawn));
          $('peak').textContent = 'last two minutes' + (most > 1 ? ', peak ' + rate(most) : '');
          const points = history.map(h => (240 - (now - h.now) / 500).toFixed(1) + ' '
            + (58 - 56 * h.drawn / most).toFixed(1));
          if (points.length < 2) return;
          $('line').setAttribute('d', 'M' + points.join('L'));
          $('area').setAttribute('d',
            'M' + points[0].split(' ')[0] + ' 60L' + points.join('L') + 'L240 60Z');
        }

        let layers = [];

        async function experts() {
          layers = (await (await call('/experts')).json()).layers;
          $('experts').hidden = layers.length === 0;
          if (layers.length === 0) {
            $('expert').textContent = 'This model has no experts, or no token has met one yet.';
            return;
          }
          const canvas = $('experts'), count = Math.max(...layers.map(l => l.tokens.length));
          [canvas.width, canvas.height] = [count, layers.length];
          canvas.style.height = Math.min(240, Math.max(24, 14 * layers.length)) + 'px';
          const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
          const context = canvas.getContext('2d');
          let idle = 0, peak = { part: 0 };
          layers.forEach((layer, row) => {
            const sum = layer.tokens.reduce((a, b) => a + b, 0);
            layer.even = sum / layer.tokens.length;
            layer.tokens.forEach((tokens, column) => {
              const part = layer.even > 0 ? tokens / layer.even : 0;
              if (tokens === 0) idle += 1;
              if (part > peak.part) peak = { part, layer: layer.layer, expert: column };
              context.globalAlpha = 1;
              context.fillStyle = colour('--line');
              context.fillRect(column, row, 1, 1);
              // Twice an even share, and more, is the full colour.
              context.globalAlpha = Math.min(1, part / 2);
              context.fillStyle = colour('--accent');
              context.fillRect(column, row, 1, 1);
            });
          });
          const text = 'A row a layer, a field an expert. Busiest: expert ' + peak.expert + ' of layer '
            + peak.layer + ', ' + peak.part.toFixed(1) + ' times an even share.'
            + (idle === 0 ? '' : ' Without a token: ' + number.format(idle) + '.');
          if (!canvas.matches(':hover')) $('expert').textContent = text;
          canvas.setAttribute('aria-label', text);
        }

        $('experts').addEventListener('pointermove', event => {
          const canvas = $('experts'), box = canvas.getBoundingClientRect();
          const layer = layers[Math.floor((event.clientY - box.top) / box.height * layers.length)];
          const expert = Math.floor((event.clientX - box.left) / box.width * canvas.width);
          if (layer?.tokens[expert] === undefined) return;
          const tokens = layer.tokens[expert];
          $('expert').textContent = 'Layer ' + layer.layer + ', expert ' + expert + ': ' + number.format(tokens)
            + ' tokens, ' + (layer.even > 0 ? tokens / layer.even : 0).toFixed(2) + ' times an even share.';
        });

        // MARK: Beginning

        async function meet() {
          model = (await (await call('/health')).json()).model;
          $('model').textContent = model;
          document.title = model + ' – Glim';
          greet();
        }

        async function watch() {
          let wasLost = false;
          for (let turn = 0; ; turn += 1) {
            if (!document.hidden) {
              try {
                if (!model) await meet();
                await measure();
                if (turn % 4 === 0) await experts();
                if (wasLost) say('');
                wasLost = false;
              } catch (error) {
                wasLost = true;
                say(error instanceof TypeError ? 'the server does not answer' : error.message);
              }
            }
            await new Promise(done => setTimeout(done, 1000));
          }
        }

        $('ask').addEventListener('submit', event => { event.preventDefault(); send(); });
        $('text').addEventListener('keydown', event => {
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        });
        $('stop').addEventListener('click', () => running?.abort());
        $('clear').addEventListener('click', () => {
          chat.messages = [];
          unanswered.length = 0;
          $('log').replaceChildren();
          greet();
          keep();
          $('text').focus();
        });
        for (const id of settings) $(id).addEventListener('change', keep);
        $('keyForm').addEventListener('submit', event => {
          event.preventDefault();
          key = $('key').value.trim();
          sessionStorage.setItem('glim.key', key);
          $('keyForm').hidden = true;
        });
        for (const name of ['beforeunload', 'pagehide']) addEventListener(name, () => { isLeft = true; keep(); });
        addEventListener('pageshow', event => {
          isLeft = false;
          if (event.persisted && running) location.reload();
        });

        recall();
        watch();
        """#
}

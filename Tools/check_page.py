#!/usr/bin/env python3
"""The page of `glim serve` in Chromium, used as a person uses it: keys, mouse, reloads.

    python Tools/check_page.py --glim .build/release/glim [--model DIR] [--picture docs/serve-page.png]

Without --model a model of one training step is made: what it says is noise, and the page must show it. Starts a server
of its own on a free port, with a key, and prints a line a stop; the stops follow one another on one page. Nothing may
be said in the browser's console but what a stop expects. Ends with 1 if any stop failed. --picture keeps what the page
looks like after a short chat, which wants a model of `glim quickstart`. Needs Chromium, and no Python package.
"""
import argparse
import json
import pathlib
import sys
import time
import traceback
import urllib.request

from browser import browsing
from served import KEY, serving

NAME = "nano"
# Two that a small model of `glim quickstart` answers well.
QUESTIONS = ["Write the word jiwuo backwards.", "What is 35 + 75 + 57?"]
MARKED = "Is <b>this</b> <img src=x onerror=alert(1)> bold?"
MOBILE = 390
MOST = 400


class Visit:
    def __init__(self, browser, served):
        self.browser, self.base = browser, served.address
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        browser.shape(1280, 800)

    # MARK: What is seen, and what the server says of it

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"authorization": f"Bearer {KEY}", "content-type": "application/json"})
        return urllib.request.urlopen(request, timeout=60).read().decode()

    def metric(self, name):
        return next(float(line.split()[1]) for line in self.ask("/metrics").splitlines() if line.startswith(f"{name} "))

    def until_metric(self, name, is_so):
        end = time.monotonic() + 20
        while not is_so(self.metric(name)):
            assert time.monotonic() < end, f"{name} stays at {self.metric(name)}"
            time.sleep(0.05)

    def messages(self):
        """What stands in the chat: role, content, reasoning and the note below, of each message."""
        return self.browser.run("""[...document.querySelectorAll('#log article')].map(card => ({
          role: card.classList[0], content: card.querySelector('.content').textContent,
          reasoning: card.querySelector('.reasoning').textContent, note: card.querySelector('.note').textContent }))""")

    def panel(self, name):
        return self.browser.run(f"""Object.fromEntries([...document.querySelectorAll('#{name} dt')].map(
          term => [term.textContent, term.nextElementSibling.textContent]))""")

    def text(self, selector):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def sent(self):
        """The bodies of the requests for replies, first to last."""
        requests = [event["params"]["request"] for event in self.browser.events
                    if event["method"] == "Network.requestWillBeSent"]
        return [json.loads(request["postData"]) for request in requests if request["url"].endswith("/chat/completions")]

    def complaints(self):
        """What went to the console since this was asked for, and forgets it."""
        events, self.browser.events[:] = list(self.browser.events), []
        told = []
        for event in events:
            told_of = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                told.append(("exception", json.dumps(told_of["exceptionDetails"])))
            elif event["method"] == "Runtime.consoleAPICalled":
                told.append(("console", json.dumps(told_of["args"])))
            elif event["method"] == "Log.entryAdded":
                told.append((told_of["entry"]["source"], told_of["entry"]["text"]))
        return list(dict.fromkeys(told))

    def begin(self, text):
        self.browser.write("#text", text)
        self.browser.press("Enter")
        assert self.browser.run("$('text').value") == "", "the message stays in its box"

    def finish(self):
        self.browser.until("!$('send').hidden && !document.querySelector('article.open')", 120)
        return self.messages()[-1]

    # MARK: The stops, in their order

    def stop_key(self):
        self.browser.open(self.base)
        self.browser.until("!$('keyForm').hidden")
        assert not self.messages()
        for attempt in ("wrong", KEY):
            self.browser.write("#key", attempt)
            self.browser.press("Enter")
            if attempt != KEY:
                # It goes, and comes back with what the server says of the key.
                self.browser.until("!$('keyForm').hidden && $('state').textContent.includes('key')")
        self.browser.until(f"$('model').textContent === '{NAME}' && $('state').textContent === ''")
        assert self.browser.run("$('keyForm').hidden")
        assert self.browser.run("document.title").startswith(NAME)
        assert NAME in self.text("#greeting")
        assert self.browser.run("!JSON.stringify(localStorage).includes(key)"), "the key outlives the tab"
        told = self.complaints()
        assert told and all(source == "network" and "401" in text for source, text in told), told

    def stop_reply(self):
        self.before = self.panel("speed") | self.panel("cache")
        self.browser.write("#temperature", "0")
        self.browser.write("#most", str(MOST))
        # Each length that the reply had when the page was drawn.
        self.browser.run("""window.lengths = new Set();
          new MutationObserver(() => lengths.add($('log').lastChild?.textContent.length)).observe(
            $('log'), { childList: true, subtree: true, characterData: true }); 0""")
        self.begin(QUESTIONS[0])
        reply = self.finish()
        assert self.messages()[0]["content"] == QUESTIONS[0]
        assert reply["role"] == "assistant" and reply["content"] + reply["reasoning"], reply
        assert self.browser.run("lengths.size") > 4, "it came at once, not as a stream"
        self.same_as_api(reply)

    def same_as_api(self, reply):
        body = self.sent()[-1]
        assert body["temperature"] == 0 and body["max_tokens"] == MOST and body["stream"]
        del body["stream"], body["stream_options"]
        answer = json.loads(self.ask("/v1/chat/completions", body))
        message = answer["choices"][0]["message"]
        assert (message.get("content") or "") == reply["content"], (message, reply)
        assert (message.get("reasoning_content") or "") == reply["reasoning"], (message, reply)
        count = answer["usage"]["completion_tokens"]
        assert reply["note"].startswith(f"{count} token"), reply["note"]
        assert f"{answer['usage']['prompt_tokens']} prompt tokens known" in reply["note"], reply["note"]

    def stop_panels(self):
        self.browser.until("$('peak').textContent.includes('peak')")
        self.browser.until("$('experts').getAttribute('aria-label')?.includes('Busiest')")
        self.until_metric("glim_cache_pages_used", lambda pages: pages == 0)
        kept = f"{self.metric('glim_cache_pages_kept'):,.0f}"
        self.browser.until(f"document.querySelector('#cache').textContent.includes('Pages kept{kept}')")
        after = self.panel("speed") | self.panel("cache")
        for name in ("First token after, mean", "Whole reply, mean", "Memory taken", "Prompt tokens known"):
            assert after[name] != self.before[name], f"{name} stays at {after[name]}"
        assert self.browser.run("$('line').getAttribute('d').split('L').some(point => point.split(' ')[1] < 30)")
        layers = json.loads(self.ask("/experts"))["layers"]
        assert self.browser.run("[$('experts').width, $('experts').height]") == [len(layers[0]["tokens"]), len(layers)]
        place = self.browser.run("(({ x, y }) => ({ x: x + 2, y: y + 2 }))($('experts').getBoundingClientRect())")
        self.browser.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        self.browser.until("$('expert').textContent.includes('expert 0: ')")

    def stop_reload(self):
        before = self.messages()
        self.browser.reload()
        self.browser.until(f"$('model').textContent === '{NAME}'")
        assert self.messages() == before and len(before) == 2, self.messages()
        assert self.browser.run("[$('temperature').value, $('most').value]") == ["0", str(MOST)]

    def stop_continues(self):
        # Without thinking, so that there is content also where a model's thoughts take all of a reply.
        self.browser.click("#thinks")
        for question in reversed(QUESTIONS):
            before = self.messages()
            self.begin(question)
            reply = self.finish()
            assert self.messages()[:-2] == before and len(self.messages()) == len(before) + 2
            said = [message for message in before if message["role"] == "user" or message["content"]]
            sent = self.sent()[-1]["messages"]
            assert [(message["role"], message["content"]) for message in sent] == [
                (message["role"], message["content"]) for message in said] + [("user", question)]
            assert not reply["note"].split(" · ")[3].startswith("0 of"), f"nothing was known of it: {reply['note']}"
            assert reply["content"] and not reply["reasoning"], reply
            self.same_as_api(reply)
        assert any(message["role"] == "assistant" for message in sent)
        self.browser.click("#thinks")

    def stop_text_is_text(self):
        self.begin(MARKED)
        self.finish()
        assert self.messages()[-2]["content"] == MARKED
        assert self.browser.run("!document.querySelector('#log b, #log img')")

    def until_cut(self, cut):
        """Has something long said and cuts it, until it did not come to its end before."""
        self.browser.write("#most", "3000")
        for attempt in range(10):
            cancelled = self.metric("glim_requests_cancelled_total")
            self.begin(f"What is {attempt + 24} * 97 + {attempt + 35}?")
            self.browser.until("$('stop').hidden || document.querySelector('#log article:last-child').textContent")
            if self.browser.run("$('stop').hidden"):
                continue
            cut()
            reply = self.finish()
            if "a second" not in reply["note"]:
                self.until_metric("glim_requests_cancelled_total", lambda count: count > cancelled)
                self.until_metric("glim_cache_pages_used", lambda pages: pages == 0)
                return reply
        raise AssertionError("it always ended first")

    def stop_stops(self):
        def click():
            self.browser.run("$('stop').hidden || $('stop').scrollIntoView()")
            self.browser.click("#stop" if self.browser.run("!$('stop').hidden") else "#text")
        reply = self.until_cut(click)
        assert reply["note"] == "stopped" and reply["content"] + reply["reasoning"], reply

    def stop_left_in_the_middle(self):
        reply = self.until_cut(self.browser.reload)
        assert reply["note"] == "cut off when the page was left" and reply["content"] + reply["reasoning"], reply
        self.browser.write("#most", str(MOST))
        self.begin(QUESTIONS[0])
        assert "a second" in self.finish()["note"]

    def stop_lost_server(self):
        before = self.messages()
        told = self.complaints()
        assert not told, told
        conditions = dict(latency=0, downloadThroughput=-1, uploadThroughput=-1)
        self.browser.call("Network.emulateNetworkConditions", offline=True, **conditions)
        try:
            self.browser.until("$('state').textContent === 'the server does not answer'")
            self.browser.write("#text", QUESTIONS[1])
            self.browser.press("Enter")
            self.browser.until("document.querySelector('.note.bad')?.textContent")
            assert self.browser.run("$('text').value") == QUESTIONS[1], "what was asked is lost"
        finally:
            self.browser.call("Network.emulateNetworkConditions", offline=False, **conditions)
        self.browser.until("$('state').textContent === ''")
        told = self.complaints()
        assert told and all(source == "network" and "DISCONNECTED" in text for source, text in told), told
        self.browser.click("#send")
        assert "a second" in self.finish()["note"]
        assert self.messages()[:-2] == before, "the question that failed is still there"

    def stop_phone(self):
        self.browser.shape(MOBILE, 844, scale=2, mobile=True)
        assert self.browser.run("document.documentElement.scrollWidth") == MOBILE, "it is wider than a phone"
        self.browser.run("scrollTo(0, 0)")
        places = "[...document.querySelectorAll('header, #text, .row label, .row button:not([hidden])')].map({})"
        bottoms = self.browser.run(places.format("element => element.getBoundingClientRect().bottom"))
        assert max(bottoms) <= 844, "the phone does not show the whole chat"
        self.browser.write("#text", QUESTIONS[0])
        self.browser.click("#send")
        self.finish()
        last = self.browser.run("document.querySelector('#log article:last-child').getBoundingClientRect().bottom")
        assert last <= self.browser.run("$('text').getBoundingClientRect().top"), "the reply is below what is seen"
        self.browser.shape(1280, 800)

    def stop_clears(self):
        self.browser.click("#clear")
        assert not self.messages() and self.text("#greeting")
        self.browser.reload()
        self.browser.until(f"$('model').textContent === '{NAME}'")
        assert not self.messages()

    def stop_console_is_silent(self):
        told = self.complaints()
        assert not told, told
        # And it would not have been, had the page done what its policy forbids.
        self.browser.run("""document.body.append(Object.assign(document.createElement('img'), { src: '/health' }));
          fetch('http://localhost:1/').catch(() => 0)""")
        end = time.monotonic() + 10
        while len(told) < 2 and time.monotonic() < end:
            time.sleep(0.05)
            told += self.complaints()
        assert len(told) >= 2 and all("Content Security Policy" in text for _, text in told), told


def keep_picture(visit, path):
    """A chat with what it takes to look at: two replies, one with its reasoning, and panels that have seen them."""
    browser = visit.browser
    browser.reload()
    browser.until(f"$('model').textContent === '{NAME}'")
    browser.shape(1280, 800, scale=1.5)
    browser.write("#temperature", "0")
    for question in QUESTIONS:
        visit.begin(question)
        visit.finish()
    browser.run("document.activeElement.blur(); document.querySelector('#log article:last-child details').open = true")
    # The panels of experts and speed follow within seconds.
    time.sleep(6)
    browser.picture(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--model", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--picture", metavar="FILE.png")
    options = parser.parse_args()
    failed = 0
    with serving(options.glim, options.model, NAME) as served, browsing() as browser:
        visit = Visit(browser, served)
        for stop in [stop for stop in Visit.__dict__ if stop.startswith("stop_")]:
            try:
                getattr(visit, stop)()
                print(f"ok      {stop[5:]}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {stop[5:]}\n{traceback.format_exc()}", flush=True)
        if options.picture:
            keep_picture(visit, options.picture)
            print(f"picture {options.picture}")
    print(f"{failed} stops failed; the server ended with {served.status}")
    return 1 if failed or served.status else 0


if __name__ == "__main__":
    sys.exit(main())

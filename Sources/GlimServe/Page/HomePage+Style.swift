extension HomePage {
    /// Light or dark, as the browser's owner likes it.
    static let style = """
        :root {
          color-scheme: light dark; --back: #f7f7f5; --card: #fff; --ink: #1d1d1b; --soft: #5d5d58; --line: #dcdcd6;
          --accent: #1f6feb; --accent2: #8bb4f3; --mine: #e8f0fd; --bad: #b3261e;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --back: #141413; --card: #1e1e1c; --ink: #ececea; --soft: #a3a39c; --line: #383834;
            --accent: #6ea8fe; --accent2: #35537f; --mine: #1f2c40; --bad: #ff8a80;
          }
        }
        * { box-sizing: border-box; }
        [hidden] { display: none !important; }
        body {
          margin: 0; height: 100dvh; display: flex; flex-direction: column; background: var(--back); color: var(--ink);
          font: 15px/1.5 system-ui, sans-serif;
        }
        header { display: flex; flex-wrap: wrap; gap: .2rem .6rem; align-items: center; padding: .6rem 1rem; }
        h1 { font-size: 1.15rem; margin: 0; }
        h2 { display: flex; justify-content: space-between; margin: 0 0 .4rem; font-size: .9rem; }
        #model, #state, footer, dl, #expert, #peak, .note { font-size: .85rem; }
        #model, #state, footer, dt, #expert, #peak, .note { color: var(--soft); }
        #peak { font-weight: normal; }
        #spark { width: 1.3rem; height: 1.3rem; margin-right: -.25rem; fill: var(--accent); }
        #state { margin-left: auto; }
        main { flex: 1; min-height: 0; display: flex; gap: 1rem; padding: 0 1rem; }
        #chat { flex: 1; min-width: 0; display: flex; flex-direction: column; }
        #log { flex: 1; overflow-y: auto; padding-bottom: .5rem; }
        article {
          background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .5rem .8rem;
          margin: 0 0 .6rem; width: fit-content; max-width: min(52rem, 90%);
        }
        article.user { background: var(--mine); border-color: transparent; margin-left: auto; }
        .open .content:empty::after { content: '…'; color: var(--soft); animation: wait 1s infinite alternate; }
        @keyframes wait { to { opacity: .2; } }
        #greeting { height: 100%; display: grid; align-content: center; }
        #greeting p { margin: .2rem 0; text-align: center; }
        #greeting p:first-child { font-size: 1.4rem; font-weight: 600; }
        .content, .reasoning { white-space: pre-wrap; overflow-wrap: anywhere; }
        .reasoning { color: var(--soft); border-left: 2px solid var(--line); padding-left: .6rem; margin: .2rem 0; }
        summary { cursor: pointer; color: var(--soft); }
        .note { margin: .3rem 0 0; }
        .bad { color: var(--bad); }
        textarea {
          width: 100%; resize: vertical; font: inherit; padding: .5rem .7rem; border-radius: .6rem;
          border: 1px solid var(--line); background: var(--card); color: inherit; display: block;
          field-sizing: content; min-height: 4rem; max-height: 40dvh;
        }
        .row { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; margin-top: .4rem; }
        .row label { font-size: .85rem; color: var(--soft); }
        #ask { margin-top: .4rem; }
        #buttons { display: flex; gap: .5rem; margin-left: auto; }
        input[type=number] { width: 4.5rem; }
        input, button {
          font: inherit; border: 1px solid var(--line); border-radius: .4rem; background: var(--card); color: inherit;
          padding: .15rem .5rem;
        }
        button { cursor: pointer; padding: .3rem .9rem; }
        button.main { background: var(--accent); border-color: var(--accent); color: var(--back); }
        button:disabled { opacity: .5; cursor: default; }
        :focus-visible { outline: 2px solid var(--accent); outline-offset: -1px; }
        aside { width: 20rem; overflow-y: auto; }
        .panel {
          background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem;
          margin-bottom: .8rem;
        }
        dl { display: grid; grid-template-columns: 1fr auto; gap: .1rem .8rem; margin: .5rem 0 0; line-height: 1.45; }
        dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
        #chart { display: block; width: 100%; height: 60px; border-bottom: 1px solid var(--line); }
        #line { fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
        #area { fill: var(--accent2); opacity: .35; }
        #bar { display: flex; height: .7rem; border-radius: .35rem; background: var(--line); overflow: hidden; }
        #used, #cache dt:nth-of-type(1)::before { background: var(--accent); }
        #kept, #cache dt:nth-of-type(2)::before { background: var(--accent2); }
        #cache dt:nth-of-type(-n + 2)::before {
          content: ''; display: inline-block; width: .6rem; height: .6rem; border-radius: .15rem; margin-right: .4rem;
        }
        canvas { width: 100%; image-rendering: pixelated; border-radius: .2rem; display: block; }
        #expert { margin: .5rem 0 0; }
        footer { padding: .3rem 1rem .6rem; }
        pre { overflow-x: auto; }
        /* The chat fills a phone, the panels follow below it. */
        @media (max-width: 50rem) {
          body { height: auto; }
          main { flex-direction: column; padding: 0 .7rem; }
          #chat { flex: none; height: calc(100dvh - 3.5rem); }
          article { max-width: 100%; }
          article.user { max-width: 90%; }
          .row { gap: .4rem .8rem; }
          /* Smaller, and some phones enlarge the page to show what is written. */
          #text, .row input { font-size: 16px; }
          .row button { padding: .3rem .7rem; }
          aside { width: auto; }
        }
        @media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
        """
}

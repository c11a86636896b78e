import Foundation
import HTTPTypes

/// What a browser sees at `/`: a chat, and how the server fares. It talks with the public API as any client does, keeps
/// the conversation in the browser, and takes nothing from elsewhere.
enum HomePage {
    /// - Parameter nonce: of this response: only what bears it may run or colour the page.
    static func headers(nonce: String) -> HTTPFields {
        let policy = """
            default-src 'none'; connect-src 'self'; img-src data:; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; \
            base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'
            """
        return [
            .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: policy, .xContentTypeOptions: "nosniff",
            .cacheControl: "no-store",
        ]
    }

    static func text(nonce: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="referrer" content="no-referrer">
        <title>Glim</title>
        <link rel="icon" href="\(icon)">
        <style nonce="\(nonce)">
        \(style)
        </style>
        </head>
        \(body)
        <script nonce="\(nonce)">
        \(script)
        </script>
        </html>

        """
    }

    /// A spark of four points.
    private static let spark = "M12 1q1.5 9.5 11 11-9.5 1.5-11 11-1.5-9.5-11-11 9.5-1.5 11-11z"

    private static let icon = """
        data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E\
        %3Cpath fill='%231f6feb' d='\(spark)'/%3E%3C/svg%3E
        """

    private static let body = """
        <body>
        <header>
          <svg id="spark" viewBox="0 0 24 24" aria-hidden="true"><path d="\(spark)"/></svg>
          <h1>Glim</h1> <span id="model">…</span>
          <span id="state" role="status"></span>
          <form id="keyForm" hidden>
            <label>API key <input id="key" type="password" autocomplete="off"></label> <button>Use</button>
          </form>
        </header>
        <main>
          <section id="chat" aria-label="Chat">
            <div id="log" role="log" aria-live="polite" tabindex="0"></div>
            <form id="ask">
              <textarea id="text" rows="2" aria-label="Message"
                placeholder="Say something. Enter sends it, Shift+Enter begins a line."></textarea>
              <div class="row">
                <label><input id="thinks" type="checkbox" checked> Think first</label>
                <label>Temperature <input id="temperature" type="number" min="0" max="2" step="0.1" value="1"></label>
                <label>At most <input id="most" type="number" min="1" step="1" value="1024"> tokens</label>
                <span id="buttons">
                  <button id="clear" type="button">New chat</button>
                  <button id="stop" type="button" hidden>Stop</button>
                  <button id="send" class="main">Send</button>
                </span>
              </div>
            </form>
          </section>
          <aside aria-label="Server">
            <section class="panel">
              <h2>Speed <span id="peak"></span></h2>
              <svg id="chart" viewBox="0 0 240 60" preserveAspectRatio="none" role="img"
                aria-label="Tokens drawn a second, the last two minutes"><path id="area"/><path id="line"/></svg>
              <dl id="speed"></dl>
            </section>
            <section class="panel">
              <h2>Cache</h2>
              <div id="bar" role="img"><i id="used"></i><i id="kept"></i></div>
              <dl id="cache"></dl>
            </section>
            <section class="panel">
              <h2>Experts</h2>
              <canvas id="experts" role="img" width="1" height="1" hidden></canvas>
              <p id="expert">No token has met an expert yet.</p>
            </section>
          </aside>
        </main>
        <footer>
          <details><summary>APIs</summary><pre>
        POST /v1/chat/completions        OpenAI's chat completions
        POST /v1/completions             OpenAI's completions
        POST /v1/responses               OpenAI's responses, in their basic form
        POST /v1/messages                Anthropic's messages
        POST /v1/messages/count_tokens   how many tokens they are
        POST /generate                   token ids in and out
        GET  /v1/models                  the model
        GET  /health                     whether all is well
        GET  /metrics                    for Prometheus
        GET  /experts                    tokens that each expert got
        </pre></details>
        </footer>
        </body>
        """
}

extension HTTPField.Name {
    static let contentSecurityPolicy = Self("Content-Security-Policy")!
    static let xContentTypeOptions = Self("X-Content-Type-Options")!
}

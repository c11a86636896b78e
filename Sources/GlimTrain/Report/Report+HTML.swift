import Foundation

extension Report {
    /// The report as one page that needs nothing else: no scripts, no fonts, no network; light and dark; for a phone
    /// as for a wide screen, and for paper.
    public func html(curve: LossCurve? = nil) -> String {
        var body = "<header><h1>\(Markup.escape(title))</h1>"
        if !summary.isEmpty { body += "<p class=\"lead\">\(Markup.escape(summary))</p>" }
        body += "</header>\n"
        body += figuresSection
        if let curve { body += section("Training", "<figure>\(curve.svg())</figure>") }
        body += stagesSection + gainsSection + samplesSection
        if !chatCommand.isEmpty {
            body += section("Talk to it", "<pre class=\"command\"><code>\(Markup.escape(chatCommand))</code></pre>")
        }
        if !machine.isEmpty {
            let rows = machine.map { fact in
                "<tr><th scope=\"row\">\(Markup.escape(fact.name))</th><td>\(Markup.escape(fact.value))</td></tr>"
            }
            body += section("Machine and settings", "<table class=\"facts\">\(rows.joined())</table>")
        }
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(Markup.escape(title))</title>
            <style>
            \(Self.style)
            </style>
            </head>
            <body>
            <main>
            \(body)</main>
            </body>
            </html>

            """
    }

    // MARK: - Parts

    private func section(_ title: String, _ content: String) -> String {
        "<section>\n<h2>\(Markup.escape(title))</h2>\n\(content)\n</section>\n"
    }

    private var figuresSection: String {
        var cards: [(value: String, name: String)] = []
        if let bits = figures.validationBitsPerByte {
            cards.append((Self.number(bits, 3), "bits per byte, validation"))
        }
        if let rate = figures.tokensPerSecond { cards.append((Self.number(rate, 0), "tokens per second")) }
        if let peak = figures.fractionOfPeak { cards.append((Self.number(peak * 100, 1) + "\u{202F}%", "of peak")) }
        if let seconds = figures.seconds { cards.append((Self.time(seconds), "training time")) }
        if let total = figures.totalParameters { cards.append((Markup.grouped(total), "parameters")) }
        if let active = figures.activeParameters { cards.append((Markup.grouped(active), "active per token")) }
        if let tokens = figures.tokens { cards.append((Markup.grouped(tokens), "tokens trained on")) }
        guard !cards.isEmpty else { return "" }
        let items = cards.map { "<div><dt>\($0.name)</dt><dd>\($0.value)</dd></div>" }
        return "<dl class=\"figures\">\(items.joined())</dl>\n"
    }

    private var stagesSection: String {
        guard !stages.isEmpty else { return "" }
        let head = ["stage", "steps", "tokens", "time", "loss", "bits per byte"].enumerated().map { i, name in
            "<th scope=\"col\"\(i == 0 ? "" : " class=\"n\"")>\(name)</th>"
        }
        let rows = stages.map { stage in
            let cells = [
                Markup.grouped(stage.steps), Markup.grouped(stage.tokens), stage.seconds.map(Self.time),
                stage.finalLoss.map { Self.number($0, 3) }, stage.validationBitsPerByte.map { Self.number($0, 3) },
            ].map { "<td class=\"n\">\($0 ?? "–")</td>" }
            return "<tr><th scope=\"row\">\(Markup.escape(stage.name))</th>\(cells.joined())</tr>"
        }
        let table = "<table><thead><tr>\(head.joined())</tr></thead><tbody>\(rows.joined())</tbody></table>"
        return section("Stages", "<div class=\"wide\">\(table)</div>")
    }

    private var gainsSection: String {
        let gained = stages.compactMap { stage in stage.gain.map { (stage.name, $0) } }
        guard let first = gained.first?.1 else { return "" }
        let (short, long) = (Markup.grouped(first.shortLength), Markup.grouped(first.longLength))
        let head = [
            "after", "bits per byte, \(short) in sight", "\(long) in sight", "facts found in \(short)", "in \(long)",
            "questions answered (95% interval)", "decode at \(long), tokens/s", "indexer loss",
        ].enumerated().map { i, name in "<th scope=\"col\"\(i == 0 ? "" : " class=\"n\"")>\(name)</th>" }
        let rows = gained.map { name, gain in
            let cells = [
                gain.shortBitsPerByte.map { Self.number($0, 3) }, gain.longBitsPerByte.map { Self.number($0, 3) },
                gain.shortFactsFound.map { Self.number($0 * 100, 0) + "\u{202F}%" },
                gain.longFactsFound.map { Self.number($0 * 100, 0) + "\u{202F}%" },
                gain.questionsAnswered.map(Self.interval),
                gain.decodeTokensPerSecond.map { Self.number($0, 0) }, gain.indexerLoss.map { Self.number($0, 3) },
            ].map { "<td class=\"n\">\($0 ?? "–")</td>" }
            return "<tr><th scope=\"row\">\(Markup.escape(name))</th>\(cells.joined())</tr>"
        }
        let table = "<table><thead><tr>\(head.joined())</tr></thead><tbody>\(rows.joined())</tbody></table>"
        return section(
            "What each stage gained",
            "<p class=\"note\">On the same long documents, none of them trained on.</p>\n<div class=\"wide\">\(table)</div>"
        )
    }

    private static func interval(_ share: ScoreInterval) -> String {
        let (score, low, high) = (
            number(share.score * 100, 0), number(share.low * 100, 0), number(share.high * 100, 0)
        )
        return "\(score)\u{202F}% (\(low) to \(high))"
    }

    private var samplesSection: String {
        guard !samples.isEmpty else { return "" }
        let items = samples.map { sample in
            // A line break right after <pre> would be swallowed; the span before it keeps the text's own.
            "<pre class=\"sample\"><span class=\"prompt\">\(Markup.escape(sample.prompt))</span>"
                + "\(Markup.escape(sample.continuation))</pre>"
        }
        return section(
            "Samples",
            "<p class=\"note\">The prompt is grey; what follows is the model's.</p>\n"
                + items.joined(separator: "\n"))
    }

    // MARK: - Numbers

    static func number(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite else { return "–" }
        if digits == 0, abs(value) < 1e15 { return Markup.grouped(Int(value.rounded())) }
        return String(format: "%.\(digits)f", value)
    }

    static func time(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0, seconds < 1e12 else { return "–" }
        let whole = Int(seconds.rounded())
        switch whole {
        case ..<60: return "\(number(seconds, 1))\u{202F}s"
        case ..<3600: return "\(whole / 60)\u{202F}min \(whole % 60)\u{202F}s"
        default: return "\(whole / 3600)\u{202F}h \(whole / 60 % 60)\u{202F}min"
        }
    }

    private static let style = """
        :root{color-scheme:light dark;--ink:#1f2328;--soft:#656d76;--page:#fff;--card:#f6f8fa;--rule:#d8dee4}
        @media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--page:#0d1117;--card:#161b22;--rule:#30363d}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--page);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
        main{max-width:52rem;margin:0 auto;padding:3rem 1.25rem 5rem}
        h1{font-size:2rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
        h2{font-size:1.2rem;margin:0 0 .75rem}
        section{margin-top:2.75rem}
        .lead{margin:0;color:var(--soft);font-size:1.1rem}
        .note{margin:0 0 .75rem;color:var(--soft)}
        .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.75rem;margin:2rem 0 0}
        .figures div{display:flex;flex-direction:column-reverse;justify-content:flex-end;background:var(--card);border:1px solid var(--rule);\
        border-radius:.6rem;padding:.8rem 1rem}
        dt{color:var(--soft);font-size:.85rem}
        dd{margin:0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
        figure{margin:0}
        figure svg{display:block;width:100%}
        .wide{overflow-x:auto}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
        th,td{text-align:left;padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
        thead th{color:var(--soft);font-weight:500;font-size:.85rem}
        tbody th,.facts th{font-weight:500}
        .facts th{width:14rem;color:var(--soft)}
        .facts td{overflow-wrap:anywhere}
        .n{text-align:right;white-space:nowrap}
        td.n:last-child,th.n:last-child{padding-right:0}
        pre{margin:0 0 .75rem;padding:.9rem 1.1rem;background:var(--card);border:1px solid var(--rule);\
        border-radius:.6rem;font:13.5px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;\
        white-space:pre-wrap;overflow-wrap:anywhere}
        .prompt{color:var(--soft)}
        @media(max-width:34rem){.facts th{width:9rem}main{padding-top:1.75rem}}
        @media print{main{max-width:none;padding:0}section{break-inside:avoid}}
        """
}

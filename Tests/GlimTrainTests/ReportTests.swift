import Foundation
import GlimTrain
import Testing

#if canImport(FoundationXML)
import FoundationXML
#endif

@Suite("metrics log") struct MetricsLogTests {
    func metrics(_ step: Int, loss: Double = 3.25, validation: Double? = nil) -> StepMetrics {
        StepMetrics(
            step: step, tokens: step * 8192, loss: loss, mtpLoss: 4.5, learningRate: 1e-5, gradientNorm: 0.1,
            tokensPerSecond: 41_234.5, validationLoss: validation, validationBitsPerByte: validation.map { $0 / 2 })
    }

    @Test("a line has its keys in order and numbers that read back") func line() throws {
        #expect(
            metrics(2).jsonLine
                == #"{"step":2,"tokens":16384,"loss":3.25,"mtp_loss":4.5,"lr":1e-05,"grad_norm":0.1,"tokens_per_second":41234.5}"#
        )
        var more = metrics(1, loss: .nan, validation: 3)
        more.extras = ["z": 1, "a\"\n": .infinity, "loss": 7]
        #expect(
            more.jsonLine
                == #"{"step":1,"tokens":8192,"loss":null,"mtp_loss":4.5,"lr":1e-05,"grad_norm":0.1,"#
                + #""tokens_per_second":41234.5,"val_loss":3.0,"val_bits_per_byte":1.5,"a\"\u000a":null,"z":1.0}"#)
        let read = try JSONDecoder().decode(StepMetrics.self, from: Data(more.jsonLine.utf8))
        #expect(read.loss.isNaN && read.validationLoss == 3 && read.extras["z"] == 1 && read.extras.count == 2)
    }

    @Test("lines are there at once, and a second opening appends") func appends() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "metrics.jsonl")
        #expect(try MetricsLog.read(file: file).isEmpty)
        for half in 0..<2 {
            let log = try MetricsLog(file: file)
            for step in 1...5 {
                try log.append(metrics(5 * half + step, validation: step == 5 ? 3.5 : nil))
                #expect(try MetricsLog.read(file: file).count == 5 * half + step)
            }
        }
        let read = try MetricsLog.read(file: file)
        #expect(read == (1...10).map { metrics($0, validation: $0 % 5 == 0 ? 3.5 : nil) })
    }

    @Test("resuming drops later lines and a half-written one") func resume() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "metrics.jsonl")
        let whole = (1...8).map { metrics($0).jsonLine + "\n" }.joined()
        // Whatever the byte at which the process was killed.
        for cut in [0, 1, 50, 400, whole.utf8.count - 1, whole.utf8.count] {
            try Data(whole.utf8.prefix(cut)).write(to: file)
            let complete = whole.utf8.prefix(cut).filter { $0 == 10 }.count
            let log = try MetricsLog(file: file, afterStep: 3)
            try log.append(metrics(4))
            #expect(try MetricsLog.read(file: file).map(\.step) == Array(1...8).prefix(min(complete, 3)) + [4])
        }
        try Data(("junk\n" + whole + "{\"step\": ").utf8).write(to: file)
        try MetricsLog.truncate(file: file, toStep: nil)
        #expect(try Data(contentsOf: file) == Data(("junk\n" + whole).utf8))
        try MetricsLog.truncate(file: file, toStep: 0)
        #expect(try Data(contentsOf: file).isEmpty)
        try MetricsLog.truncate(file: folder.url.appending(path: "none"), toStep: 0)
    }

    @Test("no folder is an error of one line") func error() throws {
        let error = #expect(throws: ReportError.self) {
            let log = try MetricsLog(file: URL(filePath: "/nonexistent/metrics.jsonl"))
            try log.append(metrics(1))
        }
        #expect(
            error.map { "\($0)" }
                == "/nonexistent/metrics.jsonl cannot be written: No such file or directory; check free space and permissions, what was saved before is unchanged"
        )
    }
}

@Suite("progress line") struct ProgressLineTests {
    let start = ContinuousClock.now

    @Test("a log gets a line every ten seconds and at the end") func log() {
        var line = ProgressLine(label: "pretrain", stepCount: 100, isTerminal: false, now: start)
        func at(_ seconds: Int, _ step: Int) -> String? {
            line.update(step: step, loss: 3.21449, tokensPerSecond: 41_234, now: start + .seconds(seconds))
        }
        #expect(at(1, 1) == "pretrain  step 1/100  loss 3.214  41.2k tok/s  1:39 left\n")
        #expect(at(5, 5) == nil)
        #expect(at(11, 11) == "pretrain  step 11/100  loss 3.214  41.2k tok/s  1:29 left\n")
        #expect(at(12, 100) == "pretrain  step 100/100  loss 3.214  41.2k tok/s  0:00 left\n")
        #expect(line.finish() == "")
    }

    @Test("a terminal is redrawn in place, within its width") func terminal() {
        var line = ProgressLine(label: "pretrain", stepCount: 100, isTerminal: true, width: 30, now: start)
        let drawn = line.update(step: 7, loss: .nan, tokensPerSecond: 3, now: start + .seconds(30))
        #expect(drawn == "\rpretrain  step 7/100  loss na\u{1B}[K")
        #expect(line.update(step: 8, loss: 1, tokensPerSecond: 3, now: start + .milliseconds(30_050)) == nil)
        #expect(line.interrupt() == "\n")
        #expect(line.finish() == "")
    }

    @Test("a resumed run judges the time left by its own steps") func resumed() {
        var line = ProgressLine(label: "sft", stepCount: 1000, firstStep: 990, isTerminal: false, now: start)
        let first = line.update(step: 990, loss: 2, tokensPerSecond: 2.5e6, now: start)
        #expect(first == "sft  step 990/1000  loss 2.000  2.5M tok/s\n")
        let later = line.update(step: 995, loss: 2, tokensPerSecond: .infinity, now: start + .seconds(36_000))
        #expect(later == "sft  step 995/1000  loss 2.000  inf tok/s  10:00:00 left\n")
    }

    @Test("work without a loss tells another figure") func figure() {
        var line = ProgressLine(label: "reasoning", unit: "question", stepCount: 4, isTerminal: false, now: start)
        let drawn = line.update(step: 1, figure: "letters", tokensPerSecond: 7.25, now: start + .seconds(20))
        #expect(drawn == "reasoning  question 1/4  letters  7.2 tok/s  1:00 left\n")
    }
}

@Suite("loss curve") struct LossCurveTests {
    /// Parses as XML, or says where it does not.
    func checkXML(_ text: String) {
        let parser = XMLParser(data: Data(text.utf8))
        #expect(parser.parse(), "\(String(describing: parser.parserError)) at line \(parser.lineNumber)")
    }

    func points(_ ys: [Double]) -> [LossCurve.Point] { ys.enumerated().map { .init(x: Double($0) * 1e4, y: $1) } }

    @Test(
        "any numbers give a well-formed picture without a number that is none",
        arguments: [
            [], [1], [.nan], [1, .nan, 2], [2, 2, 2], [0, 0], [1e300, -1e300, 1], [.infinity, 3], [-5, 5],
            [1e-12, 2e-12],
            [1e15, 1e15 + 1],
        ] as [[Double]])
    func robust(ys: [Double]) {
        let svg = LossCurve(title: "a", training: points(ys), validation: points(ys)).svg()
        checkXML(svg)
        #expect(!svg.contains("nan") && !svg.contains("inf"))
        #expect(svg.contains("no steps yet") == !ys.contains { $0.isFinite })
    }

    @Test("text is escaped, control characters do not break the file") func escaped() {
        let svg = LossCurve(title: "a<b & \"c\" \u{0}\u{1B}", xLabel: "<x>", training: points([1, 2])).svg()
        checkXML(svg)
        #expect(svg.contains("a&lt;b &amp; &quot;c&quot; \u{FFFD}\u{FFFD}"))
        #expect(svg.contains("&lt;x&gt;") && svg.contains("prefers-color-scheme:dark"))
    }

    @Test("a long run is thinned to what a screen shows") func long() {
        let curve = LossCurve(title: "long", training: points((0..<200_000).map { 9 / (1 + Double($0) / 1e4) }))
        #expect(curve.svg().utf8.count < 30_000)
        let thin = LossCurve.thinned(curve.training, count: 7)
        #expect(thin.count == 7 && zip(thin, thin.dropFirst()).allSatisfy { $0.x < $1.x && $0.y > $1.y })
        #expect(LossCurve.thinned(points([.nan, .nan, 1, 3]), count: 2)[1].y == 2)
        #expect(LossCurve.thinned(points([.nan, .nan, 1, 3]), count: 2)[0].y.isNaN)
    }

    @Test("the running mean of a constant is that constant") func smooth() {
        for point in LossCurve.smoothed(points(Array(repeating: 3, count: 500))) { #expect(abs(point.y - 3) < 1e-12) }
    }

    @Test(
        "ticks are round and labelled",
        arguments: [
            (0.0...10, "0 2 4 6 8 10"), (2.1...3.05, "2.2 2.4 2.6 2.8 3.0"),
            (0...3e6, "0 0.5M 1.0M 1.5M 2.0M 2.5M 3.0M"),
            (-1...1, "-1.0 -0.5 0.0 0.5 1.0"), (0...0.004, "0.000 0.001 0.002 0.003 0.004"),
            (0...5e9, "0 1G 2G 3G 4G 5G"), (0...90_000, "0 20k 40k 60k 80k"),
        ])
    func ticks(range: ClosedRange<Double>, labels: String) {
        #expect(LossCurve.ticks(range, count: 6).map(\.label).joined(separator: " ") == labels)
    }

    @Test("validation points come from the log") func log() {
        let metrics = (1...4).map { step in
            StepMetrics(
                step: step, tokens: step * 10, loss: 1, mtpLoss: 1, learningRate: 0, gradientNorm: 0,
                tokensPerSecond: 0, validationLoss: step == 4 ? 2 : nil)
        }
        let curve = LossCurve(title: "t", metrics: metrics)
        #expect(curve.training.count == 4 && curve.validation == [.init(x: 40, y: 2)])
        #expect(curve.svg().contains("validation"))
    }
}

@Suite("report") struct ReportTests {
    static func report() -> Report {
        Report(
            title: "nano, pretrained in 10 minutes", summary: "A GLM-5 from nothing, on <this> machine.",
            figures: .init(
                validationBitsPerByte: 1.2345, tokensPerSecond: 41_234, fractionOfPeak: 0.437, seconds: 612,
                totalParameters: 30_146_560, activeParameters: 9_146_560, tokens: 25_165_824),
            stages: [
                .init(name: "pretrain", steps: 2000, tokens: 16_384_000, seconds: 400, finalLoss: 3.1),
                .init(name: "sft & more", steps: 200, tokens: 1_638_400, seconds: .nan, validationBitsPerByte: 1.2),
            ],
            samples: [
                .init(
                    prompt: "def fibonacci(n):",
                    continuation: "\n    if n < 2 & n > 0:\n        return n\n</pre><script>alert(1)</script>"),
                .init(prompt: "Once upon a time", continuation: " there was a file."),
            ],
            machine: [.init("processor", "2 × x86-64, AVX-512"), .init("memory", "8 GB"), .init("seed", "0")],
            chatCommand: "glim chat --model 'out dir/model'")
    }

    @Test("JSON has snake_case keys and reads back") func json() throws {
        var report = Self.report()
        let text = String(decoding: try report.json(), as: UTF8.self)
        for key in ["chat_command", "val_bits_per_byte", "fraction_of_peak", "active_parameters", "final_loss"] {
            #expect(text.contains("\"\(key)\""))
        }
        report.stages[1].seconds = nil
        #expect(try JSONDecoder().decode(Report.self, from: Data(text.utf8)) == report)
    }

    @Test("HTML is self-contained and escapes what the model wrote") func html() {
        let html = Self.report().html(curve: LossCurve(title: "loss", training: [.init(x: 1, y: 2)]))
        #expect(!html.contains("<script") && html.contains("&lt;/pre&gt;&lt;script&gt;"))
        #expect(!html.contains("src=") && !html.contains("href=") && !html.contains("url("))
        #expect(html.contains("<svg") && html.contains("prefers-color-scheme:dark") && html.contains("viewport"))
        #expect(html.contains("43.7\u{202F}%") && html.contains("30\u{202F}146\u{202F}560"))
        #expect(
            html.contains("10\u{202F}min 12\u{202F}s") && html.contains("glim chat --model &#39;out dir/model&#39;"))
        for tag in ["main", "section", "table", "pre", "dl", "div", "figure", "svg", "tr", "td", "th"] {
            let opened =
                html.components(separatedBy: "<\(tag)>").count + html.components(separatedBy: "<\(tag) ").count - 2
            #expect(opened == html.components(separatedBy: "</\(tag)>").count - 1, "\(tag)")
        }
    }

    @Test("an empty report is a page too") func empty() {
        let html = Report(title: "nothing").html()
        #expect(html.contains("<h1>nothing</h1>") && !html.contains("<section>"))
    }

    @Test("all files are written, and a bad folder is an error of one line") func files() throws {
        let folder = try TemporaryFolder()
        let out = folder.url.appending(path: "new/run")
        try Self.report().write(to: out, curve: LossCurve(title: "t", training: []))
        let names = try FileManager.default.contentsOfDirectory(atPath: out.path).sorted()
        #expect(names == ["loss.svg", "report.html", "report.json"])
        let error = #expect(throws: ReportError.self) { try Self.report().write(to: URL(filePath: "/dev/null/run")) }
        #expect(error.map { "\($0)".contains("\n") } == false, "\(error.map { "\($0)" } ?? "")")
    }
}

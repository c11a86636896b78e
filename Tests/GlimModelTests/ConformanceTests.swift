import Foundation
import GlimModel
import GlimTestSupport
import Testing

@Suite("conformance") struct ConformanceTests {
    private static func describe(_ results: [ConformanceResult]) -> String {
        results.map { "\($0.name): \($0.status.rawValue), \($0.detail)" }.joined(separator: "\n")
    }

    @Test("our engine has every property") func ours() {
        for result in ConformanceSuite(ModelEngine()).run() {
            #expect(result.status == .passed, "\(result.name): \(result.detail)")
        }
    }

    @Test("so has the plain engine, where nothing is broken") func plain() {
        for result in ConformanceSuite(PlainEngine()).run() {
            #expect(result.status == .passed, "\(result.name): \(result.detail)")
        }
    }

    /// What has to notice each fault: the property that is about it, not just any.
    private static let caught: [(fault: Fault, by: Set<String>)] = [
        (
            .bidirectionalWhereAllIsSelected,
            ["causality where everything is selected", "dense where everything is selected"]
        ),
        (.maskAfterUpdate, ["causality within a chunk"]),
        (.selectsTheFuture, ["causality beyond index_topk", "selections are well formed"]),
        (.selectsTheFutureThenMasks, ["causality beyond index_topk", "selections are well formed"]),
        (.tiesToTheHigher, ["ties"]),
        (.unsorted, ["selections are well formed"]),
        (.oneTooFew, ["selections are well formed"]),
        (.oneTooMany, ["selections are well formed"]),
        (.neverSelects, ["selections are well formed", "dense where index_topk is raised"]),
        (.selectionIsIgnored, ["attention reads the selection"]),
        (.chunkLocalPositions, ["chunks around index_topk"]),
        (.keysMissingWhileAllIsSelected, ["chunks around index_topk"]),
        (.staleInChunk, ["chunks around index_topk"]),
        (.staleInDecoding, ["chunks around index_topk"]),
        (.staleAcrossReads, ["replay"]),
        (.pageEdge, ["edges of cache pages"]),
        (.halfSplitRotation, ["rotation of the indexer"]),
        (.lastDimensionsRotated, ["rotation of the indexer"]),
        (.noRotation, ["rotation of the indexer"]),
        (.normAfterRotation, ["rotation of the indexer", "selection by index score"]),
        (.keyNormWithoutMean, ["selection by index score"]),
        (.keysBeforeNorm, ["selection by index score"]),
        (.noHeadWeights, ["selection by index score"]),
        (.softmaxHeadWeights, ["selection by index score"]),
        (.noReLU, ["selection by index score"]),
        (.windowPast17Bits, ["arithmetic past 2^17 keys", "recall by index score", "needle recall"]),
        (.keysPast17BitsUnseen, ["recall by index score", "needle recall"]),
        (.positionsIn16Bits, ["arithmetic past 2^17 keys"]),
        (.positionsInHalf, ["arithmetic past 2^17 keys"]),
        (.sharedUsesFirst, ["shared selections"]),
        (.sharedSeesAll, ["shared selections"]),
        (.sharedRunsIndexer, ["shared selections"]),
        (.sharedReadsOtherKeys, ["shared selections"]),
        (.draftReusesTarget, ["the MTP layer's own indexer"]),
        (.draftStepsShare, ["the MTP layer's own indexer"]),
        (.draftStepsSelectAnew, ["the MTP layer's own indexer"]),
        (.draftStepsUseFirstLayer, ["the MTP layer's own indexer"]),
        (.draftStepsUseLayersInTurn, ["the MTP layer's own indexer"]),
        (.draftStepsReadTrunk, ["the MTP layer's own indexer"]),
        (.draftStepsSeeNextTokenOnly, ["the MTP layer's own indexer"]),
        (.inputsNotRounded, ["attention reads the selection"]),
        (.inputsRoundedDown, ["attention reads the selection"]),
        (.oneStepForAllGroups, ["attention reads the selection"]),
        (.oneStepForTheChunk, ["causality beyond index_topk", "chunks around index_topk"]),
        (.int4PairsSwapped, ["attention reads the selection"]),
        (.keysRoundedInTheCacheOnly, ["chunks around index_topk"]),
    ]

    @Test("a broken variant fails the properties that are about its fault", arguments: caught)
    func broken(fault: Fault, by names: Set<String>) {
        let results = ConformanceSuite(PlainEngine(fault: fault)).run(names)
        #expect(Set(results.map(\.name)) == names)
        for result in results {
            #expect(result.status == .failed, "\(result.name): \(result.status.rawValue), \(result.detail)")
            #expect(!result.detail.isEmpty)
        }
    }

    @Test("every fault is tried, and every property notices one") func complete() {
        #expect(Self.caught.map(\.fault) == Fault.allCases)
        let noticing = Self.caught.reduce(into: Set<String>()) { $0.formUnion($1.by) }
        #expect(noticing == Set(ConformanceSuite.properties.map(\.name)))
    }

    @Test("a wrong convention is named") func namesConvention() throws {
        let result = try #require(
            ConformanceSuite(PlainEngine(fault: .halfSplitRotation)).run(["rotation of the indexer"]).first)
        #expect(result.detail.contains("half a width apart, first dimensions"), "\(result.detail)")
    }

    /// Shows outputs only, as a server does.
    private struct Veiled: ConformanceSubject {
        let subject: any ConformanceSubject
        var facts: ConformanceFacts { subject.facts }

        func read(
            _ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>
        ) throws -> ConformanceReading {
            ConformanceReading(outputs: try subject.read(tokens, feeding, rows: rows).outputs, selections: nil)
        }
    }

    private static func veiled(_ fault: Fault?) throws -> [ConformanceResult] {
        let network = try #require(ConformanceNetwork.builtIn.first { $0.name == "sparse" })
        return ConformanceSuite(subject: Veiled(subject: PlainEngine(fault: fault).subject(network)), beyond: 136).run()
    }

    @Test("of a subject that shows outputs only, what needs more is not asked, and is not passed")
    func outputsOnly() throws {
        let sound = try Self.veiled(nil)
        let asked: Set = [
            "causality where everything is selected", "causality beyond index_topk", "causality within a chunk",
            "replay", "chunks around index_topk", "edges of cache pages",
        ]
        for result in sound {
            #expect(result.status == (asked.contains(result.name) ? .passed : .notAsked), "\(result.name)")
            #expect(!result.detail.isEmpty)
        }
        // Its outputs give it away all the same.
        for fault in [Fault.selectsTheFuture, .staleInDecoding, .chunkLocalPositions] {
            let results = try Self.veiled(fault)
            #expect(results.contains { $0.status == .failed }, "\(fault): \(Self.describe(results))")
        }
    }

    @Test("a model that reads one position, or nearly, is asked what can be asked of it", arguments: [1, 2])
    func fewChosen(topK: Int) throws {
        let network = try #require(ConformanceNetwork.builtIn.first { $0.name == "sparse" })
        var config = network.config
        config.indexer?.topK = topK
        let changed = ConformanceNetwork("few", config) { network.tensor($0) }
        let subject = try #require(try ModelEngine().subject(changed) as? ModelSubject)
        let results = ConformanceSuite(model: subject.model).run([
            "causality where everything is selected", "causality beyond index_topk", "causality within a chunk",
            "chunks around index_topk", "edges of cache pages", "dense where everything is selected",
            "selections are well formed", "selection by index score", "attention reads the selection",
        ])
        #expect(results.count == 9 && results.allSatisfy { $0.status == .passed }, "\(Self.describe(results))")
    }

    @Test("quantised networks have every property but those of what they lack") func quantized() {
        for result in ConformanceSuite(ModelEngine(), on: ConformanceNetwork.quantized).run() {
            // They have no MTP layer, and among so many keys in int8 none leads by more than a step.
            let lacks = ["the MTP layer's own indexer", "recall by index score"].contains(result.name)
            #expect(result.status == (lacks ? .notAsked : .passed), "\(result.name): \(result.detail)")
        }
    }

    @Test("of a quantised checkpoint is asked what is asked of the one it was made of", arguments: 0..<6)
    func quantizedFolder(seed: Int) throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            // A first layer that can be computed plainly, and choices that are not all of ties.
            let config = Tiny.wideConfig(3 * seed + 1).with {
                ($0.layerCount, $0.denseLayerCount, $0.computeType) = (2, 1, .float32)
                $0.indexer = .init(
                    headCount: 5, headWidth: $0.keyRotated + 20, topK: 24, ropeInterleave: seed % 4 < 2,
                    kinds: [.full, seed % 3 == 0 ? .full : .shared])
                $0.initializerRange = 0.15
            }
            try Tiny.model(config, seed).save(to: plain)
            _ = try #require(try Conversion(plain, to: quantised, Scheme(seed % 2 == 0 ? .w8a8 : .w4a8)).run())
            let before = ConformanceSuite(model: try Model(folder: plain)).run()
            let after = ConformanceSuite(model: try Model(folder: quantised)).run()
            for (a, b) in zip(before, after) {
                #expect(a.status != .failed && a.status == b.status, "\(b.name): \(a.detail); \(b.detail)")
            }
            #expect(after.count { $0.status == .passed } >= 14, "\(Self.describe(after))")
        }
    }

    @Test("chunks that a short subject has no room for are not asked, and not passed") func tooShort() throws {
        let network = try #require(ConformanceNetwork.builtIn.first { $0.name == "sparse" })
        var config = network.config
        config.indexer?.topK = 8
        let changed = ConformanceNetwork("short", config) { network.tensor($0) }
        let suite = ConformanceSuite(subject: Veiled(subject: PlainEngine().subject(changed)), beyond: 20)
        for (name, status) in [
            ("causality within a chunk", ConformanceResult.Status.notAsked), ("chunks around index_topk", .passed),
            ("edges of cache pages", .passed), ("causality beyond index_topk", .passed),
        ] { #expect(suite.run([name]).map(\.status) == [status], "\(name)") }
    }

    /// One number less than there are tokens.
    private struct Short: ConformanceSubject {
        let subject: any ConformanceSubject
        var facts: ConformanceFacts { subject.facts }

        func read(
            _ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>
        ) throws -> ConformanceReading {
            var reading = try subject.read(tokens, feeding, rows: rows)
            reading.outputs = reading.outputs.map { Array($0.dropLast()) }
            return reading
        }
    }

    private struct Shortening: ConformanceEngine {
        func subject(_ network: ConformanceNetwork) -> any ConformanceSubject {
            Short(subject: PlainEngine().subject(network))
        }
    }

    @Test("outputs of which some are missing are a flaw") func missingOutputs() {
        let results = ConformanceSuite(Shortening()).run(["attention reads the selection"])
        #expect(results.map(\.status) == [.failed], "\(Self.describe(results))")
        #expect(results[0].detail.contains("47 outputs for 48 tokens"), "\(Self.describe(results))")
    }

    @Test("an engine that cannot load a network fails, with its own words") func unloadable() {
        struct Refusal: Error, CustomStringConvertible { let description = "no such thing" }
        struct Refusing: ConformanceEngine {
            func subject(_ network: ConformanceNetwork) throws -> any ConformanceSubject { throw Refusal() }
        }
        let results = ConformanceSuite(Refusing()).run()
        #expect(results.map(\.status) == [.failed] && results.first?.detail == "no such thing")
    }
}

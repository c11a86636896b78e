public import Foundation
public import GlimModel

extension Engine {
    /// How an engine runs. None of it changes a token.
    public struct Options: Sendable {
        /// Bytes of the cache: of running requests, and of what is kept of earlier ones.
        public var cacheByteCount: Int
        /// Requests that run at one time.
        public var activeLimit = 64
        /// Requests that are open at one time, running or waiting; more are refused.
        public var openLimit = 1024
        /// Tokens guessed ahead with multi-token prediction, at most. Each request has as many as pay, or none.
        public var drafts = 0
        /// What keeps prefixes across restarts.
        public var store: Store?
        package var limits = Scheduler.Limits()
        /// What drafts are taken to cost; nil measures. Tests that mean to have drafts do not leave it to the clock.
        package var draftCosts: DraftDepth.Costs?

        /// - Parameter cacheByteCount: at most; memory is taken as pages are needed, several at a time.
        public init(cacheByteCount: Int) { self.cacheByteCount = cacheByteCount }
    }

    /// A folder that keeps prefixes. One process at a time has it.
    public struct Store: Sendable {
        public var folder: URL
        /// Names the model: the same name must mean the same weights. ``ModelIdentity`` makes one of a folder. Other
        /// versions, and builds that make other bits of the same weights, are told apart without it.
        public var identity: String
        /// Bytes of all files.
        public var byteLimit: Int
        /// Is told, a line each, what was damaged and removed.
        public var report: @Sendable (String) -> Void

        /// - Parameters:
        ///   - folder: is made where there is none; files in it that are not pages stay.
        ///   - identity: of the model, as ``ModelIdentity`` makes it.
        ///   - byteLimit: of all pages; the longest unused go first.
        ///   - report: is called by the thread that opens the engine, and later by the engine's own.
        public init(
            folder: URL, identity: String, byteLimit: Int = 8 << 30, report: @escaping @Sendable (String) -> Void
        ) {
            (self.folder, self.identity, self.byteLimit, self.report) = (folder, identity, byteLimit, report)
        }
    }

    /// A prompt, and how to go on from it.
    public struct Request: Sendable {
        public var prompt: [Int32]
        /// Tokens to draw, at most; with 0 the prompt is read, and kept for requests that begin alike.
        public var maxTokens: Int
        public var sampler: Sampler
        /// Tokens after which nothing more is drawn; nil takes the model's own end-of-text tokens.
        public var stops: Set<Int32>?
        /// What may be drawn, and where it ends: see ``ReplyRule``.
        public var rule: (any TokenRule)?
        /// How many of the likeliest tokens to report beside each that is drawn.
        public var topLogprobs = 0

        /// - Parameters:
        ///   - prompt: one token or more, all of the model's vocabulary.
        ///   - maxTokens: to draw; fewer where the model's context ends before.
        ///   - sampler: its seed and a token's position decide the draw, whatever else runs.
        ///   - stops: nil takes the model's own end-of-text tokens.
        public init(prompt: [Int32], maxTokens: Int, sampler: Sampler = Sampler(), stops: Set<Int32>? = nil) {
            (self.prompt, self.maxTokens, self.sampler, self.stops) = (prompt, maxTokens, sampler, stops)
        }
    }

    /// What a request is answered with: progress of reading, tokens, and at last how it ended.
    public enum Event: Sendable, Equatable {
        /// So many of the tokens that it knows are in the cache.
        case reading(done: Int, of: Int)
        case token(Token)
        case finished(Reason, Usage)
    }

    /// A token that was drawn.
    public struct Token: Sendable, Equatable {
        public let id: Int32
        /// Natural log, under the model's own distribution: before temperature and everything else.
        public let logprob: Float
        /// Its position in the sequence.
        public let position: Int
        /// Of the weights it was drawn with.
        public let version: Int
        /// The likeliest tokens in its place, as many as were asked for.
        public let top: [LikelyToken]

        package init(id: Int32, logprob: Float, position: Int, version: Int, top: [LikelyToken]) {
            (self.id, self.logprob, self.position) = (id, logprob, position)
            (self.version, self.top) = (version, top)
        }
    }

    /// Why a request ended.
    public enum Reason: String, Sendable {
        /// With a stop token, or as its rule said.
        case stop
        /// All tokens that were asked for are drawn.
        case length
        /// The model's longest context is full.
        case context
        /// Nobody wanted more.
        case cancelled
    }

    /// What a request took.
    public struct Usage: Sendable, Equatable {
        /// Of the prompt as it was given.
        public var promptTokens: Int
        /// Of the prompt, what was not read because it was known, in memory or from disk.
        public var cachedTokens = 0
        /// The first token of the prompt that is not what followed the same beginning before: what is in the way of a
        /// longer known prefix. nil where nothing else followed.
        public var divergence: Int?
        /// Drawn, the one that ended the request included.
        public var tokens = 0
        /// How drafts fared.
        public var drafts: DraftStatistics
        /// From the engine's taking it to its first token, and from there to its end.
        public var readingTime = Duration.zero
        public var drawingTime = Duration.zero
    }

    /// What the engine does, and what it has done since it was started.
    public struct Metrics: Sendable, Equatable {
        /// Of the weights in use.
        public var version = 0
        /// Why nothing can be drawn any more, until the weights are swapped; nil while all is well.
        public var failure: String?
        /// Requests without pages, with pages, and of these the ones that draw.
        public var waiting = 0
        public var active = 0
        public var decoding = 0
        /// Pages of the cache: all, those of running requests, and those kept of earlier ones.
        public var pages = 0
        public var usedPages = 0
        public var keptPages = 0
        /// Bytes of memory that the cache has taken: several pages at a time.
        public var cacheBytes = 0
        /// Passes of the model.
        public var steps = 0
        /// Rows that steps computed of what was known (those of wrong drafts are none), and tokens drawn.
        public var readTokens = 0
        public var drawnTokens = 0
        /// Requests that came to their end, that nobody wanted any more, and that could not go on.
        public var finished = 0
        public var cancelled = 0
        public var failed = 0
        /// Times that a request gave its pages back to read again.
        public var preemptions = 0
        /// Tokens looked up among known prefixes, and found.
        public var askedTokens = 0
        public var foundTokens = 0
        /// Pages that left memory, were written to disk, and came back from there.
        public var evictedPages = 0
        public var storedPages = 0
        public var restoredPages = 0
        /// Tokens guessed ahead that were compared with what was drawn, and those that were right.
        public var draftsTried = 0
        public var draftsAccepted = 0

        package init() {}
    }
}

import GlimModel
import GlimTensor

/// Decides what each step of the engine computes, and who holds pages of the cache meanwhile.
///
/// It knows counts only: no clock, no tensor, no page. A step holds the newest token of every request that has read its
/// others, with its drafts, and a bounded number of rows of those that still read, fairly divided: so a long prompt
/// never stalls whoever is answered. Pages go to whoever came first. Where none is left, the last to come gives its own
/// back and reads again later; the first can always go on, and every request becomes the first, so none waits for ever.
package struct Scheduler {
    package struct Limits: Sendable {
        /// Requests that have pages at one time.
        package var active = 64
        /// Rows of prompts in a step where nobody draws.
        package var chunk = 512
        /// The same where someone does and waits for the step: two pages.
        package var mixedChunk = 128

        package init() {}
    }

    /// What is to be done next.
    package enum Action: Equatable {
        /// A request may have pages: it is given what is kept of its prefix, then ``admitted(_:read:isRestoring:)``.
        case admit(Int)
        /// A request has to give its pages back. It waits again.
        case preempt(Int)
        case run(Step)
        /// There is nothing to compute.
        case idle
    }

    /// The rows of one pass.
    package struct Step: Equatable {
        /// Reads the newest token and the drafts behind it.
        package struct Decode: Equatable {
            package let id: Int
            package let drafts: Int

            package init(id: Int, drafts: Int) { (self.id, self.drafts) = (id, drafts) }
        }

        /// Reads more of what is known.
        package struct Prefill: Equatable {
            package let id: Int
            package let rows: Int

            package init(id: Int, rows: Int) { (self.id, self.rows) = (id, rows) }
        }

        package var decodes: [Decode] = []
        package var prefills: [Prefill] = []

        package init() {}
    }

    private struct Entry {
        let id: Int
        /// When it came, against others.
        let order: Int
        /// Tokens that are known: the prompt, and what was drawn.
        var known: Int
        /// Whoever reads the same beginning, and how much of it.
        let leader: (id: Int, count: Int)?
        /// Known tokens whose rows are in the cache.
        var read = 0
        /// Its rows are being brought from disk.
        var isRestoring = false
        /// Drafts that are wanted behind its newest token.
        var drafts = 0

        var isDecoding: Bool { known - read == 1 }

        /// Pages until it draws, beyond those that it has.
        var missingPages: Int { Cache.pageCount(known + 1) - Cache.pageCount(read) }

        /// As many of the wanted rows as find room.
        func rows(_ wanted: Int, pages: Int) -> Int {
            let held = Cache.pageCount(read)
            // Beyond Int only where everything fits.
            let room = pages > wanted ? wanted : (held + pages) * KeyPages.positions - read
            return min(wanted, room)
        }
    }

    private let limits: Limits
    /// Those with pages, and those without, each as they came.
    private var active: [Entry] = []
    private var waiting: [Entry] = []
    private var arrivals = 0

    package init(_ limits: Limits = Limits()) {
        precondition(limits.active > 0 && limits.chunk > 0 && limits.mixedChunk > 0, "Scheduler: \(limits)")
        self.limits = limits
    }

    package var waitingCount: Int { waiting.count }
    package var activeCount: Int { active.count }
    /// Those whose next row draws.
    package var decodingCount: Int { active.reduce(0) { $0 + ($1.isDecoding && !$1.isRestoring ? 1 : 0) } }

    // MARK: What happens

    /// A request has come.
    ///
    /// - Parameters:
    ///   - known: tokens of its prompt, one or more.
    ///   - leader: another that reads the same first tokens, and how many: they are waited for, not read twice.
    package mutating func add(_ id: Int, known: Int, after leader: (id: Int, count: Int)? = nil) {
        precondition(known > 0, "Scheduler: request \(id) without a token")
        waiting.append(Entry(id: id, order: arrivals, known: known, leader: leader))
        arrivals += 1
    }

    /// An admitted request has its pages.
    ///
    /// - Parameters:
    ///   - read: known tokens whose rows it was given; fewer than all.
    ///   - isRestoring: more are on their way, and it waits for ``restored(_:read:)``.
    package mutating func admitted(_ id: Int, read: Int, isRestoring: Bool = false) {
        change(id) {
            ($0.read, $0.isRestoring) = (read, isRestoring)
            precondition(read < $0.known, "Scheduler: \(read) of \($0.known) tokens are read")
        }
    }

    package mutating func restored(_ id: Int, read: Int) { admitted(id, read: read) }

    /// A step has computed rows of a request.
    ///
    /// - Parameters:
    ///   - read: rows that stay in the cache.
    ///   - drawn: tokens that were drawn.
    package mutating func advance(_ id: Int, read: Int, drawn: Int) {
        change(id) {
            $0.read += read
            $0.known += drawn
            precondition($0.read < $0.known, "Scheduler: \($0.read) of \($0.known) tokens are read")
        }
    }

    /// So many drafts would pay for a request.
    package mutating func want(_ id: Int, drafts: Int) { change(id) { $0.drafts = drafts } }

    /// A request has ended, in whatever state it was.
    package mutating func remove(_ id: Int) {
        active.removeAll { $0.id == id }
        waiting.removeAll { $0.id == id }
    }

    /// No request has pages any more; all read again from the beginning.
    package mutating func restart() { while let last = active.last { giveBack(last) } }

    // MARK: What to do

    /// - Parameters:
    ///   - available: pages that nobody holds, those of kept prefixes included.
    ///   - sharedPages: of a waiting request's prefix, how many pages others hold anyway.
    package mutating func next(available: Int, sharedPages: (Int) -> Int = { _ in 0 }) -> Action {
        if let id = admission(available, sharedPages) { return .admit(id) }
        var (left, step) = (available, Step())
        let shares = shares()
        for entry in active where !entry.isRestoring {
            let wanted = entry.isDecoding ? 1 + entry.drafts : shares[entry.id] ?? 0
            if wanted == 0 { continue }
            let rows = entry.rows(wanted, pages: left)
            if rows == 0 {
                guard let last = active.last, last.order > entry.order else { continue }
                giveBack(last)
                return .preempt(last.id)
            }
            left -= Cache.pageCount(entry.read + rows) - Cache.pageCount(entry.read)
            if entry.isDecoding {
                step.decodes.append(.init(id: entry.id, drafts: rows - 1))
            } else {
                step.prefills.append(.init(id: entry.id, rows: rows))
            }
        }
        if step != Step() { return .run(step) }
        // Whoever finds no page behind one that is brought from disk waits for it: then it goes on, and may take pages.
        precondition(
            active.isEmpty || active.contains(where: \.isRestoring),
            "Scheduler: nobody can go on with \(available) pages")
        return .idle
    }

    /// The first that waits, once all it has to read finds room beside what the others still need. None that came later
    /// is let past it.
    private mutating func admission(_ available: Int, _ sharedPages: (Int) -> Int) -> Int? {
        guard active.count < limits.active, let i = waiting.firstIndex(where: { !isFollowing($0) }) else { return nil }
        let promised = active.reduce(0) { $0 + $1.missingPages }
        let needed = Cache.pageCount(waiting[i].known + 1) - sharedPages(waiting[i].id)
        // A page more for each that goes on drawing: or the newcomer would soon have to give its own back.
        guard active.isEmpty || available - promised - active.count >= needed else { return nil }
        let entry = waiting.remove(at: i)
        active.insert(entry, at: active.firstIndex { $0.order > entry.order } ?? active.count)
        return entry.id
    }

    private func isFollowing(_ entry: Entry) -> Bool {
        guard let leader = entry.leader else { return false }
        return active.contains { $0.id == leader.id && $0.read < leader.count && !$0.isDecoding }
    }

    /// Rows of this step for those that read: as even as their needs allow.
    private func shares() -> [Int: Int] {
        let going = active.filter { !$0.isRestoring }
        var left = going.contains(where: \.isDecoding) ? limits.mixedChunk : limits.chunk
        let readers = going.filter { !$0.isDecoding }.prefix(left).sorted { $0.known - $0.read < $1.known - $1.read }
        var shares: [Int: Int] = [:]
        for (i, entry) in readers.enumerated() {
            let share = min(entry.known - entry.read, left / (readers.count - i))
            shares[entry.id] = share
            left -= share
        }
        return shares
    }

    private mutating func giveBack(_ entry: Entry) {
        active.removeAll { $0.id == entry.id }
        var entry = entry
        (entry.read, entry.isRestoring, entry.drafts) = (0, false, 0)
        waiting.insert(entry, at: waiting.firstIndex { $0.order > entry.order } ?? waiting.count)
    }

    private mutating func change(_ id: Int, _ body: (inout Entry) -> Void) {
        guard let i = active.firstIndex(where: { $0.id == id }) else {
            preconditionFailure("Scheduler: request \(id) has no pages")
        }
        body(&active[i])
    }
}

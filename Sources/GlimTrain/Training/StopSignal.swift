import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Whether someone asked the process to stop: a flag, for a signal handler may do little more than raise one.
package enum StopSignal {
    private static let flag = Atomic<Bool>(false)

    package static var arrived: Bool { flag.load(ordering: .relaxed) }
    package static func clear() { flag.store(false, ordering: .relaxed) }

    /// From here on Ctrl-C and SIGTERM raise the flag; a second one ends the process at once.
    ///
    /// The first call counts: later ones, of the stages that follow, leave a flag that is raised.
    package static func catchFirst() { _ = first }

    private static let first: Void = {
        for number in [SIGINT, SIGTERM] {
            handle(number, flags: SA_RESTART) { _ in
                if StopSignal.flag.exchange(true, ordering: .relaxed) { _exit(130) }
                // The step or measurement may take minutes.
                let text: StaticString = "stopping when this step or measurement is done; once more stops at once\n"
                _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
            }
        }
    }()

    /// From here on each Ctrl-C raises the flag and interrupts a read, and none ends the process.
    package static func catchInterrupts() {
        handle(SIGINT, flags: 0) { _ in StopSignal.flag.store(true, ordering: .relaxed) }
    }

    private static func handle(_ number: Int32, flags: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
        clear()  // also makes the flag, which a signal handler must not do
        var action = sigaction()
        #if canImport(Darwin)
        action.__sigaction_u.__sa_handler = handler
        #else
        action.__sigaction_handler.sa_handler = handler
        #endif
        action.sa_flags = flags
        sigaction(number, &action, nil)
        // A parent's thread may have handed down a mask in which it is blocked: then it would never come.
        var mask = sigset_t()
        sigemptyset(&mask)
        sigaddset(&mask, number)
        pthread_sigmask(SIG_UNBLOCK, &mask, nil)
    }
}

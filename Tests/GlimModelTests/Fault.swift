/// A way to get sparse attention wrong. Most of them have been shipped by some implementation.
enum Fault: String, CaseIterable, Sendable {
    // The mask.
    case bidirectionalWhereAllIsSelected, maskAfterUpdate, selectsTheFuture, selectsTheFutureThenMasks
    // The choice.
    case tiesToTheHigher, unsorted, oneTooFew, oneTooMany, neverSelects, selectionIsIgnored
    // The cache.
    case chunkLocalPositions, keysMissingWhileAllIsSelected, staleInChunk, staleInDecoding, staleAcrossReads, pageEdge
    // Scores.
    case halfSplitRotation, lastDimensionsRotated, noRotation, normAfterRotation, keyNormWithoutMean, keysBeforeNorm
    case noHeadWeights, softmaxHeadWeights, noReLU
    // Length.
    case windowPast17Bits, keysPast17BitsUnseen, positionsIn16Bits, positionsInHalf
    // Layers.
    case sharedUsesFirst, sharedSeesAll, sharedRunsIndexer, sharedReadsOtherKeys
    // Multi-token prediction.
    case draftReusesTarget, draftStepsShare, draftStepsSelectAnew, draftStepsUseFirstLayer, draftStepsUseLayersInTurn
    case draftStepsReadTrunk, draftStepsSeeNextTokenOnly
    // Integers.
    case inputsNotRounded, inputsRoundedDown, oneStepForAllGroups, oneStepForTheChunk, int4PairsSwapped
    case keysRoundedInTheCacheOnly
}

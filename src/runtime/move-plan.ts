/**
 * What is to be done about a move, from the marks of its two sides: a decision, without I/O. The marks are all that a move
 * keeps of its life, so that whoever runs the command next goes on from where it stands:
 *
 * ```
 *            here     there                                      what it means
 *   begin    -        arriving   the other side is reserved      nothing has changed here
 *            leaving  arriving   both are closed; pages travel   may be cancelled
 *   switch   left     arriving   all is there, and was compared  may not be cancelled any more
 *   end      left     -          it is open there
 *   cancel   returning  ...      here opens again, then the other side is cleared
 * ```
 *
 * One write decides each step, and of two processes that try one wins (V4). At no time are both sides open.
 */
import { MoveError } from '../errors.js'
import { whyClosed, type MoveMark } from './ports/moving.js'

/** One side, as it is found. */
export interface Side {
  /** As people know it. */
  readonly place: string
  readonly incarnation: string
  readonly mark: MoveMark | undefined
}

export type MovePlan =
  /** A new move. With `stale`, the other side holds leftovers under that mark, which go. */
  | { readonly step: 'begin'; readonly stale?: MoveMark }
  /** Both sides are marked: copy what is not there yet, compare, switch. */
  | { readonly step: 'go-on'; readonly here: MoveMark; readonly there: MoveMark }
  /** Switched already: open the other side. */
  | { readonly step: 'finish'; readonly there: MoveMark }
  /** It was moved there before, and has been open since. */
  | { readonly step: 'nothing' }

/** @throws MoveError if neither of these can be done */
export function planOf(namespace: string, here: Side, there: Side): MovePlan {
  const isSameHistory = here.incarnation === there.incarnation
  const { mark } = there
  const arriving = mark?.state === 'arriving' ? mark : undefined
  switch (here.mark?.state) {
    case undefined:
      if (!mark) {
        if (isSameHistory) throw new MoveError('same', `${here.place} and ${there.place} are the same namespace "${namespace}", or one is a copy of the other. Move to another place.`)
        return { step: 'begin' }
      }
      // Begun, or cancelled, and not to the end; or it comes home to where it was before.
      if (isSameHistory && (arriving || mark.state === 'left')) return { step: 'begin', stale: mark }
      throw new MoveError('other', `${there.place} belongs to another move. ${whyClosed(namespace, mark)}`)
    case 'leaving':
      if (arriving?.id === here.mark.id) return { step: 'go-on', here: here.mark, there: arriving }
      throw new MoveError('other', `${whyClosed(namespace, here.mark)} ${there.place} is not it.`)
    case 'left':
      if (arriving?.id === here.mark.id) return { step: 'finish', there: arriving }
      if (isSameHistory && !mark) return { step: 'nothing' }
      throw new MoveError('moved', `${whyClosed(namespace, here.mark)} ${isSameHistory && mark ? `As for ${there.place}: ${whyClosed(namespace, mark)}` : `${there.place} is not it.`}`)
    case 'returning':
    case 'arriving':
      throw new MoveError('unfinished', whyClosed(namespace, here.mark))
  }
}

export type CancelPlan =
  /** Open here again, then clear the other side, if it still belongs to this move. */
  | { readonly step: 'return'; readonly here: MoveMark; readonly there: MoveMark | undefined }
  /** Here is open; what is left of the move is at the other side. */
  | { readonly step: 'clear'; readonly there: MoveMark }

/** @throws MoveError if there is no move to cancel, or it is too late */
export function cancelPlanOf(namespace: string, here: Side, there: Side): CancelPlan {
  const arriving = there.mark?.state === 'arriving' ? there.mark : undefined
  switch (here.mark?.state) {
    case 'leaving':
    case 'returning':
      return { step: 'return', here: here.mark, there: arriving?.id === here.mark.id ? arriving : undefined }
    case 'left':
      throw new MoveError('cannot', `${whyClosed(namespace, here.mark)} It is too late to cancel that: move it back instead.`)
    case 'arriving':
      throw new MoveError('unfinished', `${whyClosed(namespace, here.mark)} Give its two sides in that order.`)
    case undefined:
      if (arriving && here.incarnation === there.incarnation) return { step: 'clear', there: arriving }
      throw new MoveError('cannot', `There is no move of namespace "${namespace}" from ${here.place} to ${there.place} to cancel.`)
  }
}

/** Where the policies of a mesh are kept outside its code: a file, for example. Text of one JSON object, a PolicyOptions. */

export interface PolicySource {
  /** As messages name it: a path. */
  readonly name: string
  /** As it was when the source was opened. */
  readonly text: string
  /** As it stands now. */
  read(): Promise<string>
  /** Calls back after it may have changed, until the function that is returned is called. */
  watch(changed: () => void): () => void
}

/**
 * What of a redis-server's log has been flushed to disk: what a power cut leaves of it. A small library in front of the
 * system's notes the length of the log before each flush, once the flush is done.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

const source = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int note(int fd, const char *name) {
  int (*flush)(int) = dlsym(RTLD_NEXT, name);
  char link[64], path[4096];
  struct stat before;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  int known = fstat(fd, &before) == 0 && length > 0;
  int result = flush(fd);
  if (result == 0 && known) {
    path[length] = 0;
    if (strstr(path, ".incr.aof") && getenv("FLUSHED")) {
      long long size = before.st_size;
      int to = open(getenv("FLUSHED"), O_WRONLY | O_CREAT, 0600);
      if (to >= 0) { if (pwrite(to, &size, sizeof size, 0) < 0) abort(); close(to); }
    }
  }
  return result;
}
int fdatasync(int fd) { return note(fd, "fdatasync"); }
int fsync(int fd) { return note(fd, "fsync"); }
`

export class FlushNotes {
  private readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** undefined where there is no compiler. */
  static async build(): Promise<FlushNotes | undefined> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-flushed-'))
    await writeFile(join(folder, 'notes.c'), source)
    try {
      await run('gcc', ['-shared', '-fPIC', '-O1', '-o', join(folder, 'notes.so'), join(folder, 'notes.c'), '-ldl'])
      return new FlushNotes(folder)
    } catch (error) {
      await rm(folder, { recursive: true })
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** The environment of the server of that name. */
  of(name: string): Record<string, string> {
    return { LD_PRELOAD: join(this.folder, 'notes.so'), FLUSHED: join(this.folder, name) }
  }

  /** How many bytes of its log have been flushed. */
  async flushed(name: string): Promise<number> {
    return Number((await readFile(join(this.folder, name))).readBigInt64LE(0))
  }

  dispose(): Promise<void> {
    return rm(this.folder, { recursive: true })
  }
}

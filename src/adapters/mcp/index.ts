/** `holdfast/mcp`: the tools of any MCP server, through a client that is connected to it. Needs no package beside the client's. */
export { mcpTools, type McpClient, type McpToolsOptions } from './mcp-tools.js'

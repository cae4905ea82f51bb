package server

import (
	"context"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"antler/services/node/config"
)

// unary and stream are what every call goes through: who is it, may it, and
// where is it carried out. A panic ends the call and nothing else.

func (s *Server) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	defer s.recovered(info.FullMethod, &err)

	ctx, to, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}

	if to != "" {
		return s.forwardUnary(ctx, to, info.FullMethod, request)
	}

	return handler(ctx, request)
}

func (s *Server) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)

	ctx, to, err := s.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}

	if to != "" {
		return s.forwardStream(ctx, to, info.FullMethod, stream)
	}

	return handler(server, &streamWithContext{ServerStream: stream, ctx: ctx})
}

type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *streamWithContext) Context() context.Context { return s.ctx }

// admit returns the context with the caller in it, and the node to pass the
// call on to; "" is this one.
func (s *Server) admit(ctx context.Context, fullMethod string) (context.Context, string, error) {
	caller, err := callerOf(ctx, s.options.RootUID)
	if err != nil {
		return ctx, "", err
	}

	at, err := authorize(caller, fullMethod)
	if err != nil {
		s.options.Logger.Warn("call denied", zap.String("method", fullMethod), zap.String("caller", caller.Name), zap.Error(err))

		return ctx, "", err
	}

	ctx = withCaller(ctx, caller)

	to, err := s.destination(ctx, caller, at)

	return ctx, to, err
}

// destination is the node that carries the call out; "" is this one.
func (s *Server) destination(ctx context.Context, caller Caller, at place) (string, error) {
	self := s.options.Config.Node.Name

	to := first(ctx, config.NodeMetadata)
	if at == serving {
		holder, err := s.holder(ctx)
		if err != nil {
			return "", err
		}

		to = holder
	}

	if to == "" || to == self {
		return "", nil
	}

	if caller.Via != "" {
		// Two nodes that disagree about who serves must not play ball.
		return "", problem(codes.Unavailable, "MOVED", fmt.Sprintf("%s does not serve any more", self), "try again")
	}

	if _, known := s.options.Config.Cluster.Member(to); !known {
		return "", badField(config.NodeMetadata, fmt.Sprintf("no node is called %q", to))
	}

	return to, nil
}

func (s *Server) recovered(fullMethod string, err *error) {
	if cause := recover(); cause != nil {
		s.options.Logger.Error("call panicked", zap.String("method", fullMethod), zap.Any("cause", cause), zap.ByteString("stack", debug.Stack()))

		*err = problem(codes.Internal, "BUG", fmt.Sprintf("%s failed by a bug in antlerd", fullMethod), "report it with the node's journal: journalctl -u antlerd")
	}
}

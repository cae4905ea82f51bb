package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// forwardUnary has another node carry the call out.
func (s *Server) forwardUnary(ctx context.Context, to, fullMethod string, request any) (any, error) {
	types, err := typesOf(fullMethod)
	if err != nil {
		return nil, err
	}

	conn, err := s.peers.to(to)
	if err != nil {
		return nil, err
	}

	reply := types.output.New().Interface()

	err = conn.Invoke(onBehalf(ctx), fullMethod, request, reply)
	if err != nil {
		return nil, unreachable(to, err)
	}

	return reply, nil
}

// forwardStream has another node carry the call out and passes on what both
// sides stream.
func (s *Server) forwardStream(ctx context.Context, to, fullMethod string, stream grpc.ServerStream) error {
	types, err := typesOf(fullMethod)
	if err != nil {
		return err
	}

	conn, err := s.peers.to(to)
	if err != nil {
		return err
	}

	// The context ends with the handler, and with it the other node's part.
	ctx, cancel := context.WithCancel(onBehalf(ctx))
	defer cancel()

	upstream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, fullMethod)
	if err != nil {
		return unreachable(to, err)
	}

	// It ends with the stream, which ends when this returns.
	go passRequests(stream, upstream, types.input, cancel)

	for {
		reply := types.output.New().Interface()

		err = upstream.RecvMsg(reply)
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return unreachable(to, err)
		}

		err = stream.SendMsg(reply)
		if err != nil {
			return err
		}
	}
}

// passRequests passes on what the caller streams until that ends. What goes wrong
// upstream is found out by whoever waits for answers from there.
func passRequests(from grpc.ServerStream, to grpc.ClientStream, kind protoreflect.MessageType, cancel func()) {
	for {
		request := kind.New().Interface()

		err := from.RecvMsg(request)
		if errors.Is(err, io.EOF) {
			_ = to.CloseSend()

			return
		}

		if err != nil {
			cancel()

			return
		}

		err = to.SendMsg(request)
		if err != nil {
			return
		}
	}
}

// onBehalf is ctx for a call to another node in the name of the caller.
func onBehalf(ctx context.Context) context.Context {
	caller := CallerFrom(ctx)

	return metadata.NewOutgoingContext(ctx, metadata.Pairs(metadataCaller, caller.Name, metadataRole, string(caller.Role)))
}

// unreachable adds to a transport error which node it was about. What the node
// itself answered stays as it is.
func unreachable(node string, err error) error {
	answer, _ := status.FromError(err)
	if answer.Code() != codes.Unavailable || len(answer.Details()) > 0 {
		return err
	}

	return problem(codes.Unavailable, "NODE_UNREACHABLE", fmt.Sprintf("%s carries this out and cannot be reached: %s", node, answer.Message()),
		"try again in a few seconds; `antlerctl status` shows which nodes are alive")
}

type messageTypes struct{ input, output protoreflect.MessageType }

// typesOf finds the messages of a method in the registry of generated code.
func typesOf(fullMethod string) (messageTypes, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")

	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return messageTypes{}, fmt.Errorf("pass on %s: %w", fullMethod, err)
	}

	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return messageTypes{}, fmt.Errorf("pass on %s: it is not a method", fullMethod)
	}

	input, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Input().FullName())
	if err != nil {
		return messageTypes{}, fmt.Errorf("pass on %s: %w", fullMethod, err)
	}

	output, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Output().FullName())
	if err != nil {
		return messageTypes{}, fmt.Errorf("pass on %s: %w", fullMethod, err)
	}

	return messageTypes{input, output}, nil
}
